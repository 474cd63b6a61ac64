"""Which transforms Albumentations has, known without importing it: that takes seconds.

A wrong name, or a wrong name of an argument, is refused when the configuration is read. Where
Albumentations is not installed, nothing is known and nothing is refused.
"""

import ast
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segmentor.errors import ConfigError, did_you_mean

# The constructor of a class, up to the end of its arguments.
_INIT = re.compile(r"^    def __init__\((.*?)\)(?: -> None)?:$", re.MULTILINE | re.DOTALL)
# Every transform takes them, also where its constructor does not name them.
_OF_ALL = {"p", "strict"}


def require_transform(name: str, arguments: Any) -> None:
    """Refuses a name that Albumentations has no class of, and arguments that it does not have.

    Raises:
        ConfigError: no such transform or argument, with the nearest ones.
    """
    known = transforms()
    where = f"processing.augmentation.{name}"
    if known and name not in known:
        near = get_close_matches(name, sorted(known), 3, 0.6)
        raise ConfigError(
            where, "no such transform", "a class of Albumentations", did_you_mean(near)
        )
    if not isinstance(arguments, Mapping):
        raise ConfigError(where, f"{arguments!r}", "arguments, such as {p: 0.5}")
    accepted = transform_arguments(name) if known else None
    for argument in arguments if accepted is not None else ():
        if argument not in accepted:
            near = get_close_matches(str(argument), sorted(accepted), 1, 0.6)
            raise ConfigError(
                f"{where}.{argument}",
                f"no argument of {name}",
                f"one of {', '.join(sorted(accepted - {'strict'}))}",
                did_you_mean(near),
            )


def transforms() -> frozenset[str]:
    """The classes of Albumentations: its transforms, and some that are none."""
    return frozenset(_classes())


@cache
def transform_arguments(name: str) -> frozenset[str] | None:
    """The arguments of a transform; None where they are not known."""
    source = _classes()[name]
    found = _INIT.search(source)
    if found is None:
        parent = source.partition("(")[2].partition(")")[0]
        return transform_arguments(parent) if parent in _classes() else None
    function = ast.parse(f"def made({found[1]}): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    if function.args.kwarg is not None:
        return None
    arguments = [*function.args.args, *function.args.kwonlyargs]
    return frozenset({item.arg for item in arguments} - {"self"}) | _OF_ALL


@cache
def _classes() -> dict[str, str]:
    """The source of each class by its name."""
    spec = find_spec("albumentations")  # finds a package without running it
    roots = spec.submodule_search_locations if spec is not None else None
    found: dict[str, str] = {}
    for root in roots or ():
        for path in Path(root).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for part in re.split(r"^(?=class )", text, flags=re.MULTILINE)[1:]:
                if name := re.match(r"class (\w+)\(", part):
                    found[name[1]] = part
    return found
