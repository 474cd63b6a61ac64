"""Datumaro 1.0: annotations/<subset>.json with items and their shapes; z order and groups kept."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from components.convert_labels.formats.coco import box_shape, stated_box
from components.convert_labels.formats.json_annotations import (
    annotation_files,
    first_value,
    has_annotations,
    listed,
    numbers,
    objects,
    run_values,
)
from components.convert_labels.raw_labels import (
    Export,
    Format,
    Item,
    Notes,
    Shape,
    ShapesLabel,
    class_name,
)
from components.convert_labels.source.files import SourceFiles
from segmentor.errors import DataError, MaskError
from segmentor.label_map import LabelClass, class_colour
from segmentor.plurals import counted

_KEYS = {"items", "categories"}
_PAINTED = ("polygon", "bbox", "mask", "ellipse")


def recognises(files: SourceFiles) -> bool:
    """Return True when a JSON file lists items and categories."""
    return has_annotations(files, _KEYS)


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export.

    Raises:
        DataError: a list is missing or broken, or the subsets disagree on the labels.
    """
    notes = Notes()
    found = {
        file.name.rpartition("/")[2].removesuffix(".json"): file
        for file in annotation_files(files, _KEYS)
    }
    labels = [_labels(first_value(file, "categories"), file.name) for file in found.values()]
    if any(other != labels[0] for other in labels):
        raise DataError(files.where, "subsets with different labels", "one label list")

    def items() -> Iterator[Item]:
        notes.clear()
        for subset, file in found.items():
            for item in objects(file, "items"):
                yield _item(item, subset, labels[0], notes)

    return Export(
        format="Datumaro 1.0",
        classes=tuple(
            LabelClass(name, class_colour(position))
            for position, (name, parent) in enumerate(labels[0], 1)
            if not parent
        ),
        items=items,
        image_folders=("images", ""),
        subsets=tuple(sorted(found)),
        count=sum(1 for file in found.values() for _ in objects(file, "items")),
        notes=notes,
    )


def parse_annotation(record: tuple[str, dict[str, Any]], where: str) -> tuple[Shape, ...]:
    """Turn an annotation and its label into a shape.

    Raises:
        MaskError: invalid coordinates.
    """
    label, annotation = record
    kind = annotation["type"]
    where = f"{where} ({kind} '{label}')"
    z_order = annotation.get("z_order", 0)
    if not isinstance(z_order, int):
        raise MaskError(where, f"z_order {z_order!r}", "an integer")
    if kind == "bbox":
        attributes = annotation.get("attributes")
        box = box_shape(label, annotation.get("bbox"), attributes, where, z_order)
        return (replace(box, group=_group(annotation)),)
    if kind == "mask":
        rle = annotation.get("rle")
        if not isinstance(rle, dict):
            raise MaskError(where, "a mask without rle", "run lengths")
        values = run_values(rle, where)
        stated = stated_box(annotation.get("bbox"))
        return (Shape("rle", label, values, z_order, _group(annotation), stated_box=stated),)
    values = numbers(annotation.get("points"), where)
    if values.size % 2 or (kind == "ellipse" and values.size != 4):
        raise MaskError(where, f"a {kind} of {counted(values.size, 'number')}", "x, y, x, y, ...")
    if kind == "ellipse":
        left, top, right, bottom = values.tolist()
        centre = [(left + right) / 2, (top + bottom) / 2]
        values = np.array([*centre, (right - left) / 2, (bottom - top) / 2])
    return (Shape(kind, label, values, z_order, _group(annotation)),)


def _item(item: dict[str, Any], subset: str, labels: list[tuple[str, str]], notes: Notes) -> Item:
    records = []
    for annotation in listed(item.get("annotations", []), f"{item.get('id')}: annotations"):
        if annotation.get("type") not in _PAINTED:
            kind = annotation.get("type")
            notes.count(f"{kind} annotations (no area: not painted)", str(item.get("id", "")))
            continue
        position = annotation.get("label_id")
        known = isinstance(position, int) and 0 <= position < len(labels)
        label = labels[position][0] if known else f"label_id {position}"  # type: ignore[index]
        records.append((label, annotation))
    image = item.get("image")
    image = image if isinstance(image, dict) else {}
    size = image.get("size")
    stated = (
        (size[0], size[1])
        if isinstance(size, list) and len(size) == 2 and all(isinstance(v, int) for v in size)
        else None
    )
    name = str(item.get("id", ""))
    shapes = ShapesLabel(tuple(records), parse_annotation, stated, name)
    return Item(name, shapes, subset, image_name=str(image.get("path") or ""))


def _group(annotation: dict[str, Any]) -> str:
    return str(annotation.get("group") or "")


def _labels(categories: Any, where: str) -> list[tuple[str, str]]:
    """Return each label and its parent: "" except for skeleton points, which are not classes."""
    try:
        labels = [
            (class_name(str(label["name"])), str(label.get("parent") or ""))
            for label in categories["label"]["labels"]
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{where}: categories", "no label list", "label.labels") from error
    names = [name for name, parent in labels if not parent]
    if not names or len(set(names)) != len(names):
        raise DataError(f"{where}: categories", "no labels, or one twice", "unique labels")
    return labels


FORMAT = Format("Datumaro 1.0", "`annotations/*.json` with `items`", recognises, read)
