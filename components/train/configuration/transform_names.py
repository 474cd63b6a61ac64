"""Names of Albumentations' transforms, listed because importing it takes seconds.

`transforms.json` is written by `components.train.installed_names`.
"""

import itertools
import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from segmentor.errors import ConfigError, did_you_mean

TRANSFORMS_FILE = Path(__file__).with_name("transforms.json")
_EXAMPLE = "arguments, such as {p: 0.5}"
# Transforms that run but ruin the training or do nothing for it: what is wrong, and the remedy.
_REFUSED = {
    ("Normalize", "ToFloat", "FromFloat"): (
        "pixels that are normalised twice: the network normalises by itself",
        "leave it out; processing.mean and processing.std say how pixels are normalised",
    ),
    ("ToTensorV2", "ToTensor3D", "ToTensor"): (
        "tensors, which are made after the augmentation",
        "leave it out",
    ),
    ("Compose", "OneOf", "OneOrOther", "RandomOrder", "ReplayCompose", "SelectiveChannelTransform",
     "Sequential", "SomeOf"): (
        "a combination of transforms",
        "name the transforms one by one, each with its own p",
    ),
    ("Lambda",): ("a function, which a configuration cannot hold", "take another transform"),
}  # fmt: skip


def require_transform(name: str, arguments: Any) -> None:
    """Refuse transforms that Albumentations lacks or that ruin training, and wrong arguments.

    Raises:
        ConfigError: no such transform or argument, with the nearest ones; a transform that
            normalises, makes tensors or combines others; masks that would be interpolated.
    """
    where = f"processing.augmentation.{name}"
    known = transforms()
    near = get_close_matches(name, sorted({*known, *itertools.chain(*_REFUSED)}), 3, 0.6)
    for names, (found, remedy) in _REFUSED.items():
        if near[:1] and near[0] in names:  # the same word in other letters too
            raise ConfigError(where, found, "transforms of uint8 RGB images", remedy)
    if name not in known:
        raise ConfigError(
            where, "no such transform", "a class of Albumentations", did_you_mean(near)
        )
    if not isinstance(arguments, Mapping):
        raise ConfigError(where, f"{arguments!r}", _EXAMPLE)
    for argument in arguments:
        if argument not in known[name]:
            near = get_close_matches(str(argument), known[name], 1, 0.6)
            raise ConfigError(
                f"{where}.{argument}",
                f"no argument of {name}",
                f"one of {', '.join(known[name])}",
                did_you_mean(near),
            )
    interpolation = arguments.get("mask_interpolation", 0)
    if interpolation != 0:
        raise ConfigError(
            f"{where}.mask_interpolation",
            f"{interpolation}, which mixes class indices into other classes",
            "0, the nearest pixel",
            "leave it out",
        )


@cache
def transforms() -> dict[str, list[str]]:
    """Return the transforms for images, and the arguments of each."""
    found: dict[str, list[str]] = json.loads(TRANSFORMS_FILE.read_text(encoding="utf-8"))
    return found
