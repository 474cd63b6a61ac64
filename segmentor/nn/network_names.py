"""Which architectures, options and encoders there are, known without importing torch.

A wrong name is refused when the configuration is read, before anything that takes time. The names
are read from the source of segmentation-models-pytorch and timm, as installed; importing them would
take seconds. Where they are not installed, nothing is known and nothing is refused.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segmentor.errors import ConfigError, did_you_mean

ARCHITECTURES = (
    "deeplabv3", "deeplabv3plus", "dpt", "fpn", "linknet", "manet",
    "pan", "pspnet", "segformer", "unet", "unetplusplus", "upernet",
)  # fmt: skip

# timm's encoders, as segmentation-models-pytorch spells them.
TIMM_PREFIX = "tu-"
# Arguments that the configuration or the data set gives.
_NO_OPTIONS = {"self", "encoder_name", "encoder_weights", "in_channels", "classes"}
# Below this, a suggestion has nothing to do with what was written.
_CLOSE = 0.75


def require_known(architecture: str, encoder: str) -> None:
    """Refuses a name that nothing has.

    Raises:
        ConfigError: no such architecture or encoder, with the nearest names.
    """
    name = architecture.lower()
    if name not in ARCHITECTURES:
        near = get_close_matches(name, ARCHITECTURES, 1, 0.6)
        raise ConfigError(
            "model.architecture",
            f"'{architecture}'",
            f"one of {', '.join(ARCHITECTURES)}",
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
    """Refuses options that SMP would drop silently: timm's encoders alone take unknown ones.

    Raises:
        ConfigError: the architecture has no such option, with the nearest one.
    """
    known = architecture_options(architecture.lower())
    for option in options if known else ():
        is_for_timm = encoder.startswith(TIMM_PREFIX) and not option.startswith("decoder_")
        if option in known or is_for_timm:
            continue
        near = get_close_matches(option, sorted(known), 1, 0.6)
        raise ConfigError(
            f"model.options.{option}",
            f"no option of {architecture}",
            f"one of {', '.join(sorted(known))}",
            did_you_mean(near),
        )


def architecture_options(architecture: str) -> frozenset[str]:
    """The arguments of an architecture's class that are options; empty where SMP is not there."""
    return frozenset(_arguments(architecture)) - _NO_OPTIONS


def likely_stride(architecture: str, options: Mapping[str, Any]) -> int | None:
    """The stride that the architecture will have with these options; None where that is unknown.

    The network itself decides when it is built (`network.network_stride`). Source: `output_stride`
    of SMP's encoders, the lesser of what the architecture asks for and 2 ** depth.
    """
    given = {**_arguments(architecture.lower()), **options}
    depth, asked = given.get("encoder_depth"), given.get("encoder_output_stride", 32)
    # DPT's encoders are vision transformers: their stride is the size of a patch.
    if architecture.lower() == "dpt" or not (isinstance(depth, int) and isinstance(asked, int)):
        return None
    return int(min(asked, 2**depth))


@cache
def _arguments(architecture: str) -> dict[str, Any]:
    """The arguments of an architecture's class and their defaults, None where there is none."""
    for text in _sources("segmentation_models_pytorch", "decoders", "*/model.py"):
        for item in ast.parse(text).body:
            if isinstance(item, ast.ClassDef) and item.name.lower() == architecture:
                for made in item.body:
                    if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                        return _defaults(made.args)
    return {}


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    names = [argument.arg for argument in arguments.args]
    last = names[len(names) - len(arguments.defaults) :]
    values = zip(last, arguments.defaults, strict=True)
    known = {name: item.value for name, item in values if isinstance(item, ast.Constant)}
    return {name: known.get(name) for name in names}


@cache
def smp_encoders() -> frozenset[str]:
    """The encoders of segmentation-models-pytorch itself; empty where it is not installed."""
    files = _sources("segmentation_models_pytorch", "encoders")
    return frozenset(
        name for text in files for name in re.findall(r'^    "([\w-]+)": \{', text, re.MULTILINE)
    )


@cache
def timm_models() -> frozenset[str]:
    """The models of timm, older names of theirs included; empty where it is not installed."""
    found: set[str] = set()
    for text in _sources("timm", "models"):
        found.update(re.findall(r"^@register_model\ndef (\w+)\(", text, re.MULTILINE))
        # Keys of weights and of older names: 'tf_efficientnet_b0_ns': ..., "resnet18.a1_in1k": ...
        found.update(re.findall(r"""^\s+['"](\w+)(?:\.\w+)?['"]\s*:""", text, re.MULTILINE))
    return frozenset(found)


def _is_encoder(name: str) -> bool:
    if not smp_encoders():
        return True
    if not name.startswith(TIMM_PREFIX):
        return name in smp_encoders()
    timm_name = name.removeprefix(TIMM_PREFIX)
    # Behind a dot is a tag of weights; with a colon it is an address (hf-hub:...), and timm's.
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


def _sources(package: str, folder: str, pattern: str = "*.py") -> list[str]:
    spec = find_spec(package)  # finds a package without running it
    roots = spec.submodule_search_locations if spec is not None else None
    return [
        path.read_text(encoding="utf-8")
        for root in roots or ()
        for path in sorted(Path(root, folder).glob(pattern))
    ]
