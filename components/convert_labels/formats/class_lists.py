"""Class lists beside masks, in the forms people have them: by index, or by colour."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from components.convert_labels.raw_labels import BLACK, IGNORE, UNLABELLED, class_name
from components.convert_labels.source.files import SourceFile, SourceFiles
from segmentor.errors import LabelMapError
from segmentor.label_map import IGNORE_INDEX, Colour, LabelClass, class_colour

LABEL_MAP = "labelmap.txt"
LABEL_COLOURS = "label_colors.txt"
# The best first: a folder may hold several.
COLOUR_LISTS = (LABEL_COLOURS, "label_color.txt", "label_colours.txt", LABEL_MAP, "class_dict.csv")
INDEX_LISTS = (
    "classes.txt",
    "class_names.txt",
    "_classes.csv",
    "classes.csv",
    "labels.txt",
    "label_names.txt",
    "class_list.txt",
    "classes.names",
    "obj.names",
)
# "0 background", "0: background", "0,background" and "background,0".
_NUMBERED = re.compile(r"^(?P<value>\d{1,5})(?:\s*[:,;=.]\s*|\s+-\s+|\s+)(?P<name>\S.*)$")
_NUMBER_LAST = re.compile(r"^(?P<name>.*\S)\s*[:,;=]\s*(?P<value>\d{1,5})$")
# "background 0"; but "lane 0" and "lane 1" are names.
_NUMBER_AFTER_SPACE = re.compile(r"^(?P<name>.*\S)\s+(?P<value>\d{1,5})$")


@dataclass(frozen=True)
class ClassList:
    """Classes, and the value of each in index masks; no values: masks are of colours."""

    classes: tuple[LabelClass, ...]
    values: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()


def find_class_list(files: SourceFiles, folders: Sequence[str]) -> ClassList | None:
    """Read the class list of an export of masks; None when it has none.

    Lists of colours are preferred. They are looked for at the top, then in `folders`, which must
    agree if several have one.

    Raises:
        LabelMapError: a list cannot be read, or two folders disagree.
    """
    for names in (COLOUR_LISTS, INDEX_LISTS):
        for places in ([""], folders):
            paths = [f"{place}/{name}".lstrip("/") for name in names for place in places]
            found = [files[path] for path in paths if path in files]
            if found:
                return _agreed(found)
    return None


def _agreed(found: Sequence[SourceFile]) -> ClassList:
    """Read lists of one name; of several names in a folder, the first counts."""
    plain = PurePosixPath(found[0].name).name
    same = [file for file in found if PurePosixPath(file.name).name == plain]
    lists = [_read(file, plain) for file in same]
    for file, other in zip(same, lists, strict=True):
        if other != lists[0]:
            found_here = f"other classes than {same[0].name}"
            raise LabelMapError(file.name, found_here, "one class list", "convert them one by one")
    return lists[0]


def _read(file: SourceFile, plain: str) -> ClassList:
    text = file.read_text()
    if plain == LABEL_MAP and ":" in text:
        classes = parse_label_map(text, file.name)
    elif plain == "class_dict.csv" or (plain.endswith(".csv") and _has_colours(text)):
        classes = _parse_class_dict(text, file.name)
    elif plain in COLOUR_LISTS:
        classes = parse_label_colours(text, file.name)
    else:
        return parse_index_list(text, file.name)
    return ClassList(classes, remarks=black_labels(classes))


def parse_index_list(text: str, where: str = INDEX_LISTS[0]) -> ClassList:
    """Parse the name of each index, one a line: `road`, `1 road` or `1, road`.

    Raises:
        LabelMapError: no names, a name or an index twice, or an index that a mask cannot hold.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if where.endswith(".csv") and lines and not re.search(r"\d", lines[0]):
        lines = lines[1:]  # the names of the columns
    numbered = _numbered(lines, where)
    if numbered:
        values = [int(match["value"]) for match in numbered]
        names = [class_name(match["name"].strip("\"' ,;")) for match in numbered]
    else:
        names = [class_name(line) for line in lines]
        if names and names[0] == IGNORE and lines[0] != IGNORE:
            names = names[1:]  # labelme's first line is __ignore__, whose index is -1
        values = list(range(len(names)))
    for kind, entries in (("name", names), ("index", values)):
        twice = next((e for n, e in enumerate(entries) if e in entries[:n]), None)
        if twice is not None:
            raise LabelMapError(where, f"{kind} '{twice}' twice", f"each {kind} once")
    if len(names) == 1 and "," in names[0]:
        raise LabelMapError(where, f"one line, '{names[0]}'", "the name of each index, one a line")
    if not names:
        raise LabelMapError(where, "no names", "the name of each index, one a line")
    if max(values) > IGNORE_INDEX:
        found = f"index {max(values)} ('{names[values.index(max(values))]}')"
        raise LabelMapError(where, found, f"indices of 0 to {IGNORE_INDEX}")
    return ClassList(
        tuple(LabelClass(n, class_colour(v, n)) for n, v in zip(names, values, strict=True)),
        tuple(values),
    )


def _numbered(lines: Sequence[str], where: str) -> list[re.Match[str]]:
    """Return the matches of lines that all have a number and a name, in one order; else none.

    Raises:
        LabelMapError: some lines begin with their number; others, like "3 wheeler", are names.
    """
    for pattern in (_NUMBERED, _NUMBER_LAST, _NUMBER_AFTER_SPACE):
        matches = [match for match in map(pattern.match, lines) if match]
        names = {match["name"] for match in matches}
        if lines and len(matches) == len(lines):
            if pattern is not _NUMBER_AFTER_SPACE or len(names) == len(lines) > 1:
                return matches
        elif pattern is _NUMBERED and any(lines[int(m["value"]) :][:1] == [m[0]] for m in matches):
            found = f"a number beside '{matches[0]['name']}' but not on every line"
            raise LabelMapError(where, found, "each line with its index, or none")
    return []


def parse_label_colours(text: str, where: str = LABEL_COLOURS) -> tuple[LabelClass, ...]:
    """Parse `r g b name` lines; a name may hold spaces.

    Raises:
        LabelMapError: an invalid line, or a name twice.
    """
    classes: dict[str, LabelClass] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(maxsplit=3)
        colour = parse_colour(fields[:3])
        name = class_name(fields[3].strip()) if len(fields) == 4 else ""
        if colour is None or not name or name in classes:
            here = f"{where}, line {number}"
            raise LabelMapError(here, f"'{line.strip()}'", "r g b name, each name once")
        classes[name] = LabelClass(name, colour)
    if not classes:
        raise LabelMapError(where, "no label", "lines of r g b name")
    return tuple(classes.values())


def parse_label_map(text: str, where: str) -> tuple[LabelClass, ...]:
    """Parse `name:r,g,b:parts:actions` lines; a name may hold ':' and '#'.

    Raises:
        LabelMapError: an invalid line, or a name twice.
    """
    classes: dict[str, LabelClass] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        # CVAT's first line is a comment; a label may start with '#' nevertheless.
        if not raw.strip() or (raw.startswith("#") and "color_rgb" in raw):
            continue
        # From the right: the name is whatever stands before the last three fields.
        fields = raw.strip("\r\n").rsplit(":", 3)
        colour = parse_colour(fields[1].split(",")) if len(fields) == 4 else None
        if colour is None and raw.startswith("#"):
            continue
        if colour is None or not fields[0].strip():
            raise LabelMapError(f"{where}, line {number}", f"'{raw.strip()}'", "name:r,g,b::")
        name = class_name(fields[0])
        if name in classes:
            raise LabelMapError(f"{where}, line {number}", f"'{name}' twice", "unique names")
        classes[name] = LabelClass(name, colour)
    if not classes:
        raise LabelMapError(where, "no label", "lines of name:r,g,b::")
    return tuple(classes.values())


def _parse_class_dict(text: str, where: str) -> tuple[LabelClass, ...]:
    """Parse `name,r,g,b` below a line of column names."""
    lines = list(_csv_lines(text))
    if lines and parse_colour(lines[0][1:4]) is None:
        lines = lines[1:]
    return parse_label_colours(
        "\n".join(" ".join([*map(str.strip, line[1:4]), line[0]]) for line in lines), where
    )


def _has_colours(text: str) -> bool:
    return any(parse_colour(line[1:4]) for line in _csv_lines(text))


def _csv_lines(text: str) -> Iterator[list[str]]:
    return (line.split(",") for line in text.splitlines() if line.strip())


def parse_colour(parts: list[str]) -> Colour | None:
    """Return three values of 0..255, or None."""
    values = [int(part) for part in map(str.strip, parts) if part.isascii() and part.isdigit()]
    if len(parts) != 3 or len(values) != 3 or max(values) > 255:
        return None
    return values[0], values[1], values[2]


def black_labels(classes: Sequence[LabelClass]) -> tuple[str, ...]:
    """Say which label takes the unlabelled pixels of colour masks, where one has their colour.

    Source: CVAT, dataset_manager/formats/utils.py, find_background_label: black goes before names.
    """
    return tuple(
        f"Label '{label.name}' is black, and so are pixels without a label: they are taken for it. "
        "Where that matters, export as CVAT for images 1.1, or give the label another colour."
        for label in classes
        if label.colour == BLACK and label.name != UNLABELLED
    )
