"""Which label of an export becomes which class: the `--classes` grammar, and what follows from it.

`--classes target=source+source,target,...`: a bare name means itself; the target `ignore` is "no
ground truth", the target `background` is background; the source `*` is every label not named, and
`*=*` keeps those as they are.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components.convert_labels.raw_labels import IGNORE, UNLABELLED
from segmentor.errors import LabelMapError, did_you_mean
from segmentor.label_map import (
    BACKGROUND,
    IGNORE_INDEX,
    Colour,
    LabelClass,
    LabelMap,
    voc_palette,
)

REST = "*"
# The option, and the key of the YAML file.
_WHERE = "classes"
_ODD_NAMES = "names with , = + need label_map, a YAML file"
# One value of a byte stays free, to mark pixels of no label.
MAX_TARGETS = 254


@dataclass(frozen=True)
class MappingRule:
    """One target class and the labels that become it."""

    target: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class MappingRules:
    """All that a user says about classes; empty keeps every label."""

    rules: tuple[MappingRule, ...] = ()
    colours: Mapping[str, Colour] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassMapping:
    """The label map, and where each label of the export goes: an index of it, or ignore_index.

    `unlabelled` is where pixels go that no label covers, and those of the label `background`.
    """

    label_map: LabelMap
    targets: Mapping[str, int]
    unlabelled: int


def parse_classes(text: str) -> MappingRules:
    """Parse the value of `--classes`.

    Raises:
        LabelMapError: an empty name.
    """
    rules = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        target, equals, right = (piece.strip() for piece in part.partition("="))
        sources = tuple(name.strip() for name in right.split("+")) if equals else (target,)
        if not target or not all(sources):
            raise LabelMapError("--classes", f"'{part}'", "target=label+label", _ODD_NAMES)
        rules.append(MappingRule(target, sources))
    return MappingRules(tuple(rules))


def map_classes(
    classes: Sequence[LabelClass],
    rules: MappingRules,
    unlabelled: str,
    is_ordered: bool = False,
    is_complete: bool = False,
) -> ClassMapping:
    """Make the label map of the data set.

    Args:
        classes: The labels of the export.
        rules: What the user asked for.
        unlabelled: `background` or `ignore`: what pixels without a label become.
        is_ordered: Keep the export's order; else labels sort by name, so that every format of one
            task gives the same indices. Background comes first in any case.
        is_complete: No pixel can be unlabelled unless the export lists a label `background`.

    Raises:
        LabelMapError: a name that the export does not have, one named twice, or not two classes
            left (background counts).
    """
    names = [label.name for label in classes if label.name != UNLABELLED]
    chosen = _assign(names, rules)
    named = [rule.target for rule in rules.rules]
    kept = [name for name in (names if is_ordered else sorted(names)) if chosen[name] == name]
    # A label may be called `*`.
    named = [target for target in named if target != REST]
    order = [t for t in dict.fromkeys([*named, *kept]) if t not in (IGNORE, BACKGROUND)]
    order = [target for target in order if target in chosen.values()]
    bare = chosen.get(UNLABELLED, unlabelled)
    fills = has_unlabelled(classes, is_complete) and bare == BACKGROUND
    if fills or BACKGROUND in (chosen[name] for name in names):
        order = [BACKGROUND, *order]
    if not [name for name in order if name != BACKGROUND]:
        raise LabelMapError(
            _WHERE, "no class but background", "at least one", f"labels: {_listed(names)}"
        )
    if len(order) < 2:
        may_fill = has_unlabelled(classes, is_complete)
        raise only_one_class(_WHERE, order[0], "--unlabelled background" if may_fill else "")
    if len(order) > MAX_TARGETS:
        remedy = "name those you want, or merge some, with classes (or label_map)"
        found, expected = f"{len(order)} classes", f"at most {MAX_TARGETS}, as a mask has bytes"
        raise LabelMapError("label map", found, expected, remedy)
    colours = _colours(order, classes, chosen, rules)
    label_map = LabelMap(tuple(LabelClass(n, c) for n, c in zip(order, colours, strict=True)))
    index = {name: position for position, name in enumerate(order)} | {IGNORE: IGNORE_INDEX}
    return ClassMapping(
        label_map,
        {name: index[chosen[name]] for name in names},
        index.get(bare, IGNORE_INDEX),
    )


def has_unlabelled(classes: Sequence[LabelClass], is_complete: bool) -> bool:
    """Return True when masks of the export may have pixels that no label covers."""
    return not is_complete or any(label.name == UNLABELLED for label in classes)


def only_one_class(where: str, name: str, remedy: str = "") -> LabelMapError:
    """Refuse a label map of one class: each pixel is that class to whatever learns from it."""
    return LabelMapError(
        where,
        f"one class, '{name}', and nothing to tell it from",
        "background or a second class",
        remedy or "label the rest as another class: masks and their class list need both",
    )


def _assign(names: Sequence[str], rules: MappingRules) -> dict[str, str]:
    """Return the target of each label, and of UNLABELLED where a rule names it."""
    chosen: dict[str, str] = {}
    rest = ""
    for rule in rules.rules:
        for source in rule.sources:
            if source == REST:
                rest = rule.target
            elif source not in names and source != UNLABELLED:
                raise _unknown(source, names)
            elif source in chosen and chosen[source] != rule.target:
                raise LabelMapError(
                    _WHERE,
                    f"label '{source}' for '{chosen[source]}' and '{rule.target}'",
                    "one target a label",
                )
            else:
                chosen[source] = rule.target
    if not rest:
        has_class = any(rule.target not in (IGNORE, BACKGROUND) for rule in rules.rules)
        rest = BACKGROUND if has_class else REST
    for name in names:
        # A label called `ignore` says what it is; a rule for all others does not mean it.
        chosen.setdefault(name, name if rest == REST or name == IGNORE else rest)
    return chosen


def _unknown(source: str, names: Sequence[str]) -> LabelMapError:
    """Say that the export has no such label, and which one may be meant."""
    found = f"no label '{source}' in the export"
    near = [name for name in names if name.casefold() == source.casefold()]
    if near:
        found += f" ({_listed(near)} differs in case)"
    near = near or difflib.get_close_matches(source, names, n=1)
    has_signs = any(sign in name for name in names for sign in ",=+")
    remedy = did_you_mean([f"'{name}'" for name in near]) or (_ODD_NAMES if has_signs else "")
    return LabelMapError(_WHERE, found, f"one of {_listed(names)}", remedy)


def _colours(
    order: Sequence[str],
    classes: Sequence[LabelClass],
    chosen: Mapping[str, str],
    rules: MappingRules,
) -> list[Colour]:
    """Take what the user gave, else the label of that name, else the first merged label."""
    own = {label.name: label.colour for label in classes}
    merged: dict[str, Colour] = {}
    for label in classes:
        if label.name in chosen:
            merged.setdefault(chosen[label.name], label.colour)
    colours = []
    for position, name in enumerate(order):
        palette = voc_palette()[position]
        fallback = (int(palette[0]), int(palette[1]), int(palette[2]))
        default = (0, 0, 0) if name == BACKGROUND else merged.get(name, fallback)
        colours.append(rules.colours.get(name, own.get(name, default)))
    return colours


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) if names else "(the export has none)"
