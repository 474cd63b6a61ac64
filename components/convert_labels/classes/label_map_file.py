"""The class mapping as a YAML file: what `--classes` says, for odd names, with colours.

classes:                    # in the order of their indices; background is put first
  road: [asphalt, "marking, white"]          # labels that become it
  car: {from: [car, van], colour: [0, 0, 142]}
  tree:                     # the label of the same name
background: [sky]
ignore: [void]
others: background          # labels not named: background, ignore or keep
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.convert_labels.classes.mapping import REST, MappingRule, MappingRules
from components.convert_labels.raw_labels import IGNORE
from components.convert_labels.source.fetching import local_copy
from segmentor.errors import LabelMapError
from segmentor.label_map import BACKGROUND, Colour

_KEYS = ("classes", BACKGROUND, IGNORE, "others")
_OTHERS = {BACKGROUND: BACKGROUND, IGNORE: IGNORE, "keep": REST}


def read_label_map_file(location: str) -> MappingRules:
    """Read the file at a path or an object store's URI.

    Raises:
        LabelMapError: no such file, no YAML, or another shape than the above.
    """
    with local_copy(location, Path(tempfile.gettempdir())) as copy:
        path = copy.path
        try:
            value = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise LabelMapError(location, f"unreadable ({reason})", "a YAML file") from error
    return parse_rules(value, location)


def parse_rules(value: Any, where: str) -> MappingRules:
    """Turn the parsed YAML into rules.

    Raises:
        LabelMapError: an unknown key, or a value of another shape.
    """
    if not isinstance(value, Mapping) or not set(value) <= set(_KEYS):
        found = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise LabelMapError(where, f"keys {found}", f"some of {', '.join(_KEYS)}")
    classes = value.get("classes") or {}
    if isinstance(classes, list):
        classes = _listed(classes, f"{where}: classes")
    if not isinstance(classes, Mapping):
        raise LabelMapError(f"{where}: classes", type(classes).__name__, "a mapping or a list")
    rules, colours = [], {}
    for target, entry in classes.items():
        here = f"{where}: classes: {target}"
        details = entry if isinstance(entry, Mapping) else {"from": entry}
        if not set(details) <= {"from", "colour"}:
            raise LabelMapError(here, f"keys {', '.join(map(str, details))}", "from, colour")
        rules.append(MappingRule(str(target), _names(details.get("from") or [target], here)))
        if "colour" in details:
            colours[str(target)] = _colour(details["colour"], here)
    for target in (BACKGROUND, IGNORE):
        if value.get(target):
            rules.append(MappingRule(target, _names(value[target], f"{where}: {target}")))
    others = value.get("others")
    if others is not None and others not in _OTHERS:
        raise LabelMapError(f"{where}: others", f"'{others}'", f"one of {', '.join(_OTHERS)}")
    if others is not None:
        rules.append(MappingRule(_OTHERS[others], (REST,)))
    return MappingRules(tuple(rules), colours)


def _listed(classes: list[Any], where: str) -> dict[Any, None]:
    """Take a list of names. Many tools list mappings with a `name`: ours are keyed by it."""
    for entry in classes:
        if not isinstance(entry, str | int | float):
            name = entry.get("name", "road") if isinstance(entry, Mapping) else "road"
            raise LabelMapError(
                where,
                f"{entry!r} in the list",
                "names alone",
                f"write '- {name}', or a mapping of names: "
                f"'{name}: {{from: [label, label], colour: [0, 0, 142]}}'",
            )
    return dict.fromkeys(classes)


def _names(value: Any, where: str) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str | int | float) for name in names):
        raise LabelMapError(where, repr(value), "a label, or a list of labels")
    return tuple(str(name) for name in names)


def _colour(value: Any, where: str) -> Colour:
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(isinstance(part, int) and 0 <= part <= 255 for part in value)
    ):
        raise LabelMapError(where, f"colour {value!r}", "three values of 0..255")
    return value[0], value[1], value[2]
