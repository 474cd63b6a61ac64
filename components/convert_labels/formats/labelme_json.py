"""labelme: a JSON file beside each image, with polygons, rectangles, circles and masks."""

import base64
import binascii
import itertools
import json
import posixpath
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.convert_labels.formats.json_annotations import MAX_DEPTH, numbers
from components.convert_labels.formats.layouts import SUBSETS
from components.convert_labels.raw_labels import (
    Export,
    Format,
    Item,
    Notes,
    Shape,
    ShapesLabel,
    class_name,
)
from components.convert_labels.run_lengths import runs_by_rows
from components.convert_labels.source.files import SourceFile, SourceFiles
from components.convert_labels.source.image_finder import stem
from segmentor.errors import DataError, ImageError, MaskError
from segmentor.image_io import decode_index, read_header
from segmentor.label_map import LabelClass, class_colour
from segmentor.plurals import counted

_KEYS = (b'"shapes"', b'"imagePath"')
_NO_AREA = ("line", "linestrip", "point", "points")
# Number of files that are looked at to recognise the format.
_LOOKED_AT = 5
Record = tuple[str, str, Any, Any]


def recognises(files: SourceFiles) -> bool:
    """Return True when the first JSON files have labelme's keys."""
    first = list(itertools.islice(_json_names(files), _LOOKED_AT))
    return bool(first) and all(_is_labelme(files[name]) for name in first)


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export.

    Raises:
        DataError: a file is not valid JSON, or no file has a shape.
    """
    paths = list(_json_names(files))
    labels: set[str] = set()
    for path in paths:
        labels |= {_label(shape) for shape in _shapes(_content(files[path]), path)}
    if not labels:
        raise DataError(
            files.where, f"no shape in {counted(len(paths), 'file')}", "labelled images"
        )
    subsets = {_subset(path) for path in paths}
    notes = Notes()

    def items() -> Iterator[Item]:
        notes.clear()
        for path in paths:
            yield _item(path, _content(files[path]), files, notes)

    return Export(
        format="labelme",
        classes=tuple(
            LabelClass(name, class_colour(position))
            for position, name in enumerate(sorted(labels), 1)
        ),
        items=items,
        image_folders=("", "images", "imgs", "JPEGImages"),
        subsets=tuple(sorted(subsets)),
        count=len(paths),
        notes=notes,
    )


def parse_shape(record: Record, where: str) -> tuple[Shape, ...]:
    """Turn a shape's kind, label, points and mask into a shape.

    Raises:
        MaskError: the points are not numbers, or the mask cannot be read.
    """
    kind, label, points, mask = record
    where = f"{where} ({kind} '{label}')"
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise MaskError(where, f"points {repr(points)[:40]}", "[x, y] pairs")
    values = numbers([value for point in points for value in point], where)
    if kind == "mask":
        return (Shape("mask", label, _mask_values(values, mask, where)),)
    if kind in ("rectangle", "circle") and values.size != 4:
        raise MaskError(where, f"a {kind} of {counted(values.size // 2, 'point')}", "two")
    if kind == "rectangle":
        x1, y1, x2, y2 = values.tolist()
        corners = np.array([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)])
        return (Shape("box", label, corners),)
    if kind == "circle":
        x, y, edge_x, edge_y = values.tolist()
        radius = float(np.hypot(edge_x - x, edge_y - y))
        return (Shape("ellipse", label, np.array([x, y, radius, radius])),)
    return (Shape("polygon", label, values),)


def _mask_values(box: NDArray[np.float64], mask: Any, where: str) -> NDArray[np.float64]:
    """Return left, top, width, height and run lengths of a mask, which is a PNG in base64."""
    try:
        content = base64.b64decode(mask, validate=True)
        read_header(content, where)
        pixels = decode_index(content, where)
    except (binascii.Error, TypeError, ValueError, ImageError) as error:
        raise MaskError(where, f"a mask that cannot be read ({error})", "a PNG") from error
    if box.size != 4:
        raise MaskError(where, f"a mask of {counted(box.size // 2, 'point')}", "two")
    left, top = (int(value) for value in box[:2])
    height, width = pixels.shape
    return np.concatenate([[left, top, width, height], runs_by_rows(pixels != 0)])


def _json_names(files: SourceFiles) -> Iterator[str]:
    return iter(sorted(name for name in files if name.lower().endswith(".json")))


def _is_labelme(file: SourceFile) -> bool:
    with file.open() as stream:
        content = stream.read()
    return all(key in content for key in _KEYS)


def _content(file: SourceFile) -> dict[str, Any]:
    text = file.read_text()
    try:
        if max(text.count("["), text.count("{")) > MAX_DEPTH and "[" * MAX_DEPTH in text:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise DataError(file.name, f"broken JSON ({reason})", "what labelme writes") from error
    if not isinstance(value, dict):
        raise DataError(file.name, f"JSON of a {type(value).__name__}", "what labelme writes")
    return value


def _shapes(content: dict[str, Any], where: str) -> list[dict[str, Any]]:
    shapes = content.get("shapes")
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise DataError(f"{where}: shapes", repr(shapes)[:40], "a list of objects")
    return shapes


def _label(shape: dict[str, Any]) -> str:
    return class_name(str(shape.get("label", "")).strip())


def _item(path: str, content: dict[str, Any], files: SourceFiles, notes: Notes) -> Item:
    subset = _subset(path)
    image = _image_of(path, str(content.get("imagePath") or ""), files)
    name = stem(image).removeprefix(f"{subset}/" if subset else "")
    records = []
    for shape in _shapes(content, path):
        kind = str(shape.get("shape_type") or "polygon")
        if kind in _NO_AREA:
            notes.count(f"{kind} annotations (no area: not painted)", name)
        else:
            records.append((kind, _label(shape), shape.get("points"), shape.get("mask")))
    size = content.get("imageHeight"), content.get("imageWidth")
    stated = (size[0], size[1]) if all(isinstance(side, int) for side in size) else None
    label = ShapesLabel(tuple(records), parse_shape, stated, path)  # type: ignore[arg-type]
    return Item(name, label, subset, image_name=image)


def _image_of(path: str, stated: str, files: SourceFiles) -> str:
    """Return the image's name: where the file says, else beside it, else its name alone."""
    folder = posixpath.dirname(path)
    stated = stated.replace("\\", "/")
    plain = posixpath.basename(stated)
    for name in (posixpath.normpath(posixpath.join(folder, stated)), posixpath.join(folder, plain)):
        if name in files:
            return name
    return posixpath.join(folder, plain) if plain else path.removesuffix(".json")


def _subset(path: str) -> str:
    top = path.split("/", 1)[0] if "/" in path else ""
    return top if top.lower() in SUBSETS else ""


FORMAT = Format("labelme", "a JSON file an image, with `shapes` and `imagePath`", recognises, read)
