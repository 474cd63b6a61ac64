"""YOLO: a text file an image, whose lines are polygons or boxes in fractions of its size."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import yaml

from components.convert_labels.formats.class_lists import parse_index_list
from components.convert_labels.formats.layouts import SUBSETS
from components.convert_labels.raw_labels import (
    Export,
    Format,
    Item,
    Shape,
    ShapesLabel,
    class_name,
)
from components.convert_labels.source.files import SourceFile, SourceFiles
from components.convert_labels.source.image_finder import stem
from segmentor.errors import DataError, LabelMapError, MaskError
from segmentor.image_io import EXTENSIONS
from segmentor.label_map import LabelClass, class_colour
from segmentor.plurals import counted

_LINES = re.compile(rb"\s*\d+(\s+-?[\d.]+(e-?\d+)?){4,}\s*(\n|$)", re.IGNORECASE)
_YAML = (".yaml", ".yml")
_NAMES = ("obj.names", "classes.txt", "labels.txt", "classes.names")
_DARKNET = re.compile(r"^obj_(.+)_data$")
_LOOKED_AT = 50
_FARTHEST = 2


@dataclass(frozen=True)
class _Place:
    """Where an image or its labels lie: the subset, and the name in it, without extension."""

    subset: str
    name: str


def recognises(files: SourceFiles) -> bool:
    """Return True when text files have lines of class and coordinates, and classes have names."""
    return _names_file(files) is not None and has_labels(files)


def has_labels(files: SourceFiles) -> bool:
    """Return True when one of the first text files has lines of class and coordinates."""
    looked_at = _label_paths(files)[:_LOOKED_AT]
    return any(_is_label_file(files[path]) for path in looked_at)


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export.

    Raises:
        DataError: the classes cannot be read, or the labels are key points.
    """
    named = _names_file(files)
    assert named is not None  # `recognises` has seen it
    names = _class_names(named)
    images = {_place(name): name for name in _images(files)}
    names_of_images = {_base(name) for name in (*images.values(), *_images(elsewhere))}
    # A file with an image's name holds its labels, well written or not.
    labels = {
        _place(path): path
        for path in _label_paths(files)
        if _base(path) in names_of_images or _is_label_file(files[path])
    }
    places = sorted(labels.keys() | images.keys(), key=lambda place: (place.subset, place.name))

    def items() -> Iterator[Item]:
        for place in places:
            path = labels.get(place)
            lines = files[path].read_text().splitlines() if path else []
            records = tuple((line, names) for line in lines if line.strip())
            where = f"{place.subset}/{place.name}".lstrip("/")
            label = ShapesLabel(records, parse_line, None, where, is_relative=True)
            yield Item(place.name, label, place.subset, image_name=images.get(place, ""))

    return Export(
        format="YOLO",
        classes=tuple(
            LabelClass(name, class_colour(position))
            for position, name in enumerate(dict.fromkeys(names.values()), 1)
        ),
        items=items,
        image_folders=("", "images"),
        subsets=tuple(sorted({place.subset for place in places})),
        count=len(places),
    )


def parse_line(record: tuple[str, dict[int, str]], where: str) -> tuple[Shape, ...]:
    """Turn a line into a shape: `class x y x y ...`, or `class cx cy width height` for a box.

    Raises:
        MaskError: other than numbers, a class without a name, an odd count of coordinates, or
            coordinates in pixels.
    """
    line, names = record
    try:
        index, *numbers = map(float, line.split())
    except ValueError as error:
        expected = "a class and coordinates, with spaces between them"
        raise MaskError(where, f"'{line[:40]}'", expected) from error
    if index not in names:
        remedy = "give the class a name in data.yaml, obj.names or classes.txt, or delete the line"
        raise MaskError(where, f"class {index:g}", f"one of {_known(names)}", remedy)
    label = names[int(index)]
    values = np.array(numbers, np.float64)
    # A shape may reach over the edge; twice the image is another unit, or NaN.
    if not (np.abs(values) <= _FARTHEST).all():
        found = f"coordinate {values[~(np.abs(values) <= _FARTHEST)][0]:g} ('{label}')"
        remedy = "divide x by the image's width and y by its height"
        raise MaskError(where, found, "fractions of the image's size, 0 to 1", remedy)
    if values.size in (4, 5):  # a fifth number is how sure a network was
        x, y, width, height = values[:4].tolist()
        half_width, half_height = width / 2, height / 2
        box = [x - half_width, y - half_height, x + half_width, y + half_height]
        return (Shape("box", label, np.array(box)),)
    if values.size % 2 or values.size < 6:
        found = f"{counted(values.size, 'coordinate')} ('{label}')"
        raise MaskError(where, found, "x and y of at least three points, or a box")
    return (Shape("polygon", label, values),)


def _known(names: dict[int, str]) -> str:
    return ", ".join(f"{index} ('{name}')" for index, name in sorted(names.items()))


def _names_file(files: SourceFiles) -> SourceFile | None:
    """Return the file at the top that names the classes, or None."""
    tops = sorted(name for name in files if "/" not in name)
    for name in tops:
        if name.lower().endswith(_YAML) and "names" in files[name].read_text():
            return files[name]
    return next((files[name] for name in _NAMES if name in tops), None)


def _class_names(file: SourceFile) -> dict[int, str]:
    if not file.name.lower().endswith(_YAML):
        found = parse_index_list(file.read_text(), file.name)
        return {v: c.name for v, c in zip(found.values, found.classes, strict=True)}
    try:
        value: Any = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise LabelMapError(file.name, "broken YAML", "names of classes") from error
    if isinstance(value, dict) and "kpt_shape" in value:
        remedy = "export as CVAT for images 1.1, with shapes that have an area"
        raise DataError(file.name, "YOLO pose: key points, which have no area", "YOLO-seg", remedy)
    names = value.get("names") if isinstance(value, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(str(k).isdecimal() for k in names):
        raise LabelMapError(f"{file.name}: names", repr(names)[:40], "a list of names")
    return {int(key): class_name(str(name).strip()) for key, name in names.items()}


def _label_paths(files: SourceFiles) -> list[str]:
    return sorted(name for name in files if name.lower().endswith(".txt") and "/" in name)


def _base(path: str) -> str:
    return _place(path).name.rpartition("/")[2]


def _images(files: SourceFiles | None) -> Iterator[str]:
    return (name for name in files or () if name.lower().endswith(EXTENSIONS))


def _is_label_file(file: SourceFile) -> bool:
    """Return True for lines of class and coordinates, and for a file of none."""
    with file.open() as stream:
        head = stream.read(1 << 12)
    return not head.strip() or _LINES.match(head) is not None


def _place(path: str) -> _Place:
    """Return the subset, and the name without `images/`, `labels/` and the subset."""
    subset, parts = "", list[str]()
    for part in PurePosixPath(path).parts[:-1]:
        darknet = _DARKNET.match(part)
        word = darknet.group(1) if darknet else part
        if not subset and not parts and word.lower() in SUBSETS:
            subset = word
        elif part.lower() not in ("images", "labels") or parts:
            parts.append(part)
    plain = PurePosixPath(path).name
    last = stem(plain) if plain.lower().endswith(EXTENSIONS) else plain.rpartition(".")[0]
    return _Place(subset, "/".join([*parts, last]))


FORMAT = Format("YOLO", "`data.yaml` or `obj.names`, and a text file an image", recognises, read)
