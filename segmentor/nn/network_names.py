"""The architectures, options and encoders that exist, known without importing torch.

A wrong name is refused when the configuration is read, before any long work. The names
are those of the pinned segmentation-models-pytorch and timm, whose import takes seconds;
`components.train.installed_names` writes them to `network_names.json`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from segmentor.errors import ConfigError, did_you_mean

NAMES_FILE = Path(__file__).with_name("network_names.json")
# timm's encoders, as segmentation-models-pytorch spells them.
TIMM_PREFIX = "tu-"
# Arguments of SMP's classes that are not options here, and why.
_GIVEN = {
    "encoder_name": "set model.encoder",
    "encoder_weights": "set model.encoder_weights",
    "in_channels": "images are RGB: three channels",
    "classes": "the classes are those of the data set",
    "activation": "leave it out: losses and the exported graph take logits, and apply it",
    "aux_params": "leave it out: only masks are trained, no classification of whole images",
}
# Arguments of timm.create_model that SMP's encoder sets itself.
_GIVEN_BY_SMP = {"features_only", "in_chans", "out_indices", "output_stride", "pretrained"}
# Below this, a suggestion is unrelated to what was written.
_CLOSE = 0.75


def require_known(architecture: str, encoder: str) -> None:
    """Refuse an unknown name.

    Raises:
        ConfigError: no such architecture or encoder, with the nearest names.
    """
    name = architecture.lower()
    if name not in architectures():
        near = _near_architectures(name)
        raise ConfigError(
            "model.architecture",
            f"'{architecture}'",
            f"one of {', '.join(architectures())}",
            did_you_mean(near),
        )
    if not _is_encoder(encoder):
        near = _near_encoders(encoder)
        raise ConfigError(
            "model.encoder",
            f"'{encoder}'",
            "an encoder of segmentation-models-pytorch, or tu-<timm name>",
            did_you_mean(near),
        )


def require_options(architecture: str, encoder: str, options: Iterable[str]) -> None:
    """Refuse options that SMP would ignore silently; only timm's encoders take unknown ones.

    Raises:
        ConfigError: the architecture has no such option, with the nearest one.
    """
    known = architecture_options(architecture.lower())
    for option in options:
        where = f"model.options.{option}"
        if option in _GIVEN:
            raise ConfigError(
                where, "no option", f"one of {', '.join(sorted(known))}", _GIVEN[option]
            )
        is_for_timm = encoder.startswith(TIMM_PREFIX) and not option.startswith("decoder_")
        if option in known or (is_for_timm and option not in _GIVEN_BY_SMP):
            continue
        near = get_close_matches(option, sorted(known), 1, 0.6)
        raise ConfigError(
            where,
            f"no option of {architecture}",
            f"one of {', '.join(sorted(known))}",
            did_you_mean(near),
        )


def architecture_options(architecture: str) -> frozenset[str]:
    """Return the arguments of an architecture's class that a configuration may set."""
    return frozenset(_names()["architectures"][architecture]) - frozenset(_GIVEN)


def likely_stride(architecture: str, options: Mapping[str, Any]) -> int | None:
    """Return the stride of the architecture with these options; None if it is unknown.

    The network itself decides when it is built (`network.network_stride`). Source: `output_stride`
    of SMP's encoders, the lesser of what the architecture asks for and 2 ** depth.
    """
    given = {**_names()["architectures"][architecture.lower()], **options}
    depth, asked = given.get("encoder_depth"), given.get("encoder_output_stride", 32)
    # DPT's encoders are vision transformers: their stride is the size of a patch.
    if architecture.lower() == "dpt" or not (isinstance(depth, int) and isinstance(asked, int)):
        return None
    return int(min(asked, 2**depth))


@cache
def _names() -> dict[str, Any]:
    names: dict[str, Any] = json.loads(NAMES_FILE.read_text(encoding="utf-8"))
    return names


def architectures() -> tuple[str, ...]:
    """Return the architectures of segmentation-models-pytorch."""
    return tuple(_names()["architectures"])


@cache
def smp_encoders() -> frozenset[str]:
    """Return the encoders of segmentation-models-pytorch itself."""
    return frozenset(_names()["encoders"])


@cache
def timm_models() -> frozenset[str]:
    """Return the models of timm, deprecated names included."""
    return frozenset(_names()["timm"])


def _near_architectures(name: str) -> list[str]:
    """Return the architecture that is meant: DeepLabV3+, U-Net++ and unetpp are other spellings."""
    spelt = re.sub(r"[^a-z0-9]", "", re.sub(r"(\+\+|pp)$", "plusplus", name).replace("+", "plus"))
    return (
        [spelt] if spelt in architectures() else get_close_matches(spelt, architectures(), 1, 0.6)
    )


def _is_encoder(name: str) -> bool:
    if not name.startswith(TIMM_PREFIX):
        return name in smp_encoders()
    timm_name = name.removeprefix(TIMM_PREFIX)
    # A dot precedes a tag of weights; a name with a colon (hf-hub:...) is an address for timm.
    return ":" in timm_name or timm_name.partition(".")[0] in timm_models()


def _near_encoders(name: str) -> list[str]:
    bare = name.removeprefix(TIMM_PREFIX)
    if f"{TIMM_PREFIX}{bare}" != name and bare in timm_models():
        return [f"{TIMM_PREFIX}{bare}"]
    if bare in smp_encoders():
        return [bare]
    near = get_close_matches(name.lower(), sorted(smp_encoders()), 3, _CLOSE)
    return near or get_close_matches(
        name.lower(), sorted(f"{TIMM_PREFIX}{model}" for model in timm_models()), 3, _CLOSE
    )
