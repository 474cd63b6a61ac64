"""Which transforms Albumentations has, known without importing it: that takes seconds.

A wrong name is refused when the configuration is read. Where Albumentations is not installed,
nothing is known and nothing is refused.
"""

import re
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from segmentor.errors import ConfigError, did_you_mean


def require_transform(name: str) -> None:
    """Refuses a name that Albumentations has no class of.

    Raises:
        ConfigError: no such transform, with the nearest ones.
    """
    known = transforms()
    if known and name not in known:
        near = get_close_matches(name, sorted(known), 3, 0.6)
        raise ConfigError(
            f"processing.augmentation.{name}",
            "no such transform",
            "a class of Albumentations",
            did_you_mean(near),
        )


@cache
def transforms() -> frozenset[str]:
    """The classes of Albumentations: its transforms, and some that are none."""
    spec = find_spec("albumentations")  # finds a package without running it
    roots = spec.submodule_search_locations if spec is not None else None
    return frozenset(
        name
        for root in roots or ()
        for path in Path(root).rglob("*.py")
        for name in re.findall(r"^class (\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
