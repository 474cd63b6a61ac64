"""Where the weights that a training starts from lie: files, folders, objects; without torch."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.train.configuration.config import ENCODER_WEIGHTS, NONE, ModelSettings
from segmentor.digests import digest_file
from segmentor.errors import ConfigError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri, is_object_uri

# What a folder of weights holds: a checkpoint of train, `save_pretrained` of SMP and others.
IN_FOLDERS = ("weights.safetensors", "model.safetensors", "pytorch_model.bin")
_SETTING = re.compile(r"(model\.(?:encoder_)?weights)=(['\"]?)(.*)\2")


def with_absolute_weights(overrides: Sequence[str]) -> list[str]:
    """Return overrides whose files of weights are named from the root: steps run elsewhere.

    Raises:
        ConfigError: a file that is not there, looked for in the working directory.
    """
    return [_absolute(override) for override in overrides]


def _absolute(override: str) -> str:
    found = _SETTING.fullmatch(override)
    if found is None or found[3] in ENCODER_WEIGHTS or is_object_uri(found[3]):
        return override
    weights_path(found[3], found[1])
    return f"{found[1]}='{Path(found[3]).absolute()}'"


def weights_path(source: str, where: str) -> Path:
    """Return the file of a path, which may be a folder that holds it.

    Raises:
        ConfigError: no such file, or a folder without weights.
    """
    path = Path(source)
    if path.is_dir():
        inside = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not inside:
            raise ConfigError(
                where, f"'{source}': a folder without weights", f"one of {', '.join(IN_FOLDERS)}"
            )
        return inside[0]
    if not path.is_file():
        folder = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise ConfigError(
            where, f"'{source}': no such file{folder}", "a file, a folder, or an s3:// URI"
        )
    return path


def start_digest(model: ModelSettings) -> str:
    """Return the digest of the file or object that training starts from; empty for named sources.

    Other content under the same name is another run: an interrupted one must not go on with it.

    Raises:
        ConfigError: no such file, or a folder without weights.
        StoreError: no such object, or no store.
    """
    if model.weights != NONE:
        return weights_digest(model.weights, "model.weights")
    return weights_digest(model.encoder_weights, "model.encoder_weights")


def weights_digest(source: str, where: str = "model.encoder_weights") -> str:
    """Return the digest of a file, of the weights in a folder, or of an object."""
    if source in ENCODER_WEIGHTS:
        return ""
    if not is_object_uri(source):
        return digest_file(weights_path(source, where))
    with tempfile.TemporaryDirectory() as folder:
        path, uri = Path(folder) / "weights", ObjectUri.parse(source)
        store = ObjectStore.from_environment()
        is_prefix = not uri.key or uri.key.endswith("/")
        if is_prefix or (not store.exists(uri) and any(store.list_keys(uri))):
            raise ConfigError(where, f"'{source}': a folder", "the URI of one file")
        store.download(uri, path)
        return digest_file(path)
