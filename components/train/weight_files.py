"""Files of weights as people have them: safetensors, torch files, folders, URIs."""

import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from components.train.configuration.weight_places import weights_path
from segmentor.errors import ConfigError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri, is_object_uri

# Under these keys a torch file keeps the weights: Lightning's and many others'; timm's, DeiT's and
# MAE's; torch's own tutorial. Of others the largest mapping of tensors is taken.
_NESTS = ("state_dict", "model", "model_state_dict")
# torch's unpickler raises one of these on anything but a torch file, depending on its first bytes.
_UNREADABLE = (
    OSError, EOFError, SafetensorError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile,
    LookupError, ValueError, AttributeError, TypeError,
)  # fmt: skip


def read_weights(source: str, where: str) -> dict[str, Tensor]:
    """Read the tensors of a file, a folder or an object; nothing in it is executed.

    Args:
        source: A path, or an s3:// URI.
        where: The setting that names it, for errors.

    Raises:
        ConfigError: no such file, or no weights in it.
        StoreError: no such object, or no store.
    """
    if not is_object_uri(source):
        return _from_file(weights_path(source, where), source, where)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(ObjectUri.parse(source).key).name
        ObjectStore.from_environment().download(ObjectUri.parse(source), path)
        return _from_file(path, source, where)


def _from_file(path: Path, source: str, where: str) -> dict[str, Tensor]:
    try:
        if _is_safetensors(path):
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise unreadable(source, error, where) from error
    found = _tensors(state)
    if not found:
        raise ConfigError(where, f"'{source}': no weights", "a state dict of tensors")
    return found


def _tensors(state: Any) -> dict[str, Tensor]:
    """Return the mapping of tensors within what a torch file holds; empty without one."""
    if not isinstance(state, dict):
        return {}
    nested = [state[name] for name in _NESTS if name in state]
    others = sorted((v for v in state.values() if isinstance(v, dict)), key=len, reverse=True)
    for item in (state, *nested, *others):
        if isinstance(item, dict) and item and all(isinstance(v, Tensor) for v in item.values()):
            return {str(key): value for key, value in item.items()}
    return {}


def _is_safetensors(path: Path) -> bool:
    """By content: a key of an object store or of the hub's cache has no suffix.

    Source: the format of safetensors: eight bytes of length, then a header in JSON.
    """
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def unreadable(source: str, error: Exception, where: str) -> ConfigError:
    """Return the error for a file that is not read."""
    reason = " ".join(str(error).split())
    if "Unsupported global" in reason:
        return ConfigError(
            where,
            f"'{source}': pickled objects, such as a whole network, which would run code",
            "tensors alone",
            "save them with torch.save(network.state_dict(), path)",
        )
    return ConfigError(
        where,
        f"'{source}' cannot be read ({reason[:100] or type(error).__name__})",
        "safetensors or a torch file",
    )
