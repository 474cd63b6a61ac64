"""Writes the lists of names that the installed packages have: checks read them and import nothing.

Run `python -m components.train.installed_names` after pinning another version of timm, SMP or
Albumentations; a test says when it is due.
"""

import inspect
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from components.train.configuration.transform_names import TRANSFORMS_FILE
from segmentor.nn.network_names import NAMES_FILE


def network_names() -> dict[str, Any]:
    """Return architectures with their arguments and defaults, SMP's encoders, and timm's."""
    import segmentation_models_pytorch as smp
    import timm
    from timm.models import _registry

    architectures = {}
    for name, kind in sorted(smp.MODEL_ARCHITECTURES_MAPPING.items()):
        taken = list(inspect.signature(kind.__init__).parameters.values())[1:]
        architectures[name] = {
            item.name: item.default if isinstance(item.default, int | str | float) else None
            for item in taken
            if item.kind is not item.VAR_KEYWORD
        }
    return {
        "architectures": architectures,
        "encoders": sorted(smp.encoders.encoders),
        "timm": sorted({*timm.list_models(), *_older(_registry._deprecated_models)}),
    }


def _older(names: Any) -> set[str]:
    """Return timm's deprecated names, which still work; some carry a tag of weights."""
    return {name.partition(".")[0] for name in names}


def transform_arguments() -> dict[str, list[str]]:
    """Return the transforms of Albumentations for images, and the arguments of each."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    abstract = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D"}
    found = {}
    for name, kind in sorted(vars(albumentations).items()):
        is_class = isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform)
        if is_class and name not in abstract and not issubclass(kind, albumentations.Transform3D):
            taken = set(inspect.signature(kind.__init__).parameters) - {"self", "args", "kwargs"}
            found[name] = sorted({*taken, "p"})
    return found


def write(path: Path, names: Any) -> None:
    """Write a list, a name a line: a diff of it is readable."""
    path.write_text(json.dumps(names, indent=0) + "\n", encoding="utf-8")


def main() -> int:
    """Write both lists."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(NAMES_FILE, network_names())
        write(TRANSFORMS_FILE, transform_arguments())
    return 0


if __name__ == "__main__":
    sys.exit(main())
