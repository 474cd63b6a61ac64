"""COCO 1.0: annotations/instances_<subset>.json; polygons, and run lengths packed or plain.

z order is not in the file: what comes later is on top. Brush masks have iscrowd=1; they are kept.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from components.convert_labels.exports import Export, Item, Notes, Shape, ShapesLabel
from components.convert_labels.formats.annotations_by_image import AnnotationsByImage
from components.convert_labels.formats.json_annotations import (
    annotation_files,
    first_value,
    has_annotations,
    listed,
    numbers,
    objects,
    palette_colour,
    run_values,
)
from components.convert_labels.image_finder import stem
from components.convert_labels.source_files import SourceFile, SourceFiles
from segmentor.errors import DataError, MaskError
from segmentor.label_map import LabelClass
from segmentor.name_table import NameTable

_KEYS = {"images", "annotations", "categories"}
_PREFIX = "instances_"
_COMPANIONS = ("person_keypoints_", "captions_", "labels_", "stuff_", "panoptic_", "image_info_")
# Of an annotation; the rest is not needed.
_KEPT = ("segmentation", "bbox", "attributes")
_STRAY = "annotations of images that are not listed (left out)"


def recognises(files: SourceFiles) -> bool:
    """True when a JSON file lists images, annotations and categories."""
    return has_annotations(files, _KEYS)


def read(files: SourceFiles) -> Export:
    """Opens the export.

    Raises:
        DataError: a list is missing or broken, or the subsets disagree on the categories.
    """
    found = annotation_files(files, _KEYS, lambda name: _is_companion(name, files))
    subsets = {file.name: _subset(file, len(found)) for file in found}
    notes = Notes()
    names = [_categories(first_value(file, "categories"), file.name) for file in found]
    if any(other != names[0] for other in names):
        raise DataError(files.where, "subsets with different categories", "one label list")
    counts = [sum(1 for _ in objects(file, "images")) for file in found]
    for file, count in zip(found, counts, strict=True):
        if not count:
            raise DataError(f"{file.name}: images", "none", "a list of the task's images")

    companions = sum(_is_companion(name, files) for name in files)

    def items() -> Iterator[Item]:
        notes.clear()
        if companions:
            notes.counts["files that describe the same images again (left out)"] = companions
        for file in found:
            yield from _items(file, subsets[file.name], names[0], notes)

    return Export(
        format="COCO 1.0",
        classes=tuple(
            LabelClass(name, palette_colour(position))
            for position, name in enumerate(dict.fromkeys(names[0].values()), 1)
        ),
        items=items,
        image_folders=("images", "", "data"),
        subsets=tuple(sorted(subsets.values())),
        count=sum(counts),
        notes=notes,
    )


def parse_line(line: bytes, where: str) -> tuple[Shape, ...]:
    """Turns what was kept of an annotation into shapes.

    Raises:
        MaskError: a segmentation that is none.
    """
    label, annotation = json.loads(line)
    return parse_annotation((label, annotation), where)


def parse_annotation(record: tuple[str, dict[str, Any]], where: str) -> tuple[Shape, ...]:
    """Turns an annotation and its label into shapes: one a polygon.

    Raises:
        MaskError: a segmentation that is none.
    """
    label, annotation = record
    where = _placed(where, label, annotation.get("bbox"))
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return (Shape("rle", label, run_values(segmentation, where)),)
    if isinstance(segmentation, list) and segmentation:
        polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
        shapes = tuple(Shape("polygon", label, numbers(points, where)) for points in polygons)
        if any(shape.values.size % 2 for shape in shapes):
            raise MaskError(where, "an odd count of coordinates", "x, y, x, y, ...")
        return shapes
    if segmentation in (None, []) and annotation.get("bbox"):
        return (box_shape(label, annotation["bbox"], annotation.get("attributes"), where),)
    raise MaskError(where, f"segmentation {repr(segmentation)[:40]}", "polygons or run lengths")


def _placed(where: str, label: str, bbox: Any) -> str:
    """Returns where an annotation is, for errors: its label, and its box if it has one."""
    is_box = isinstance(bbox, list) and [isinstance(v, int | float) for v in bbox] == [True] * 4
    box = f" at x {bbox[0]:.0f}, y {bbox[1]:.0f}" if is_box else ""
    return f"{where} ('{label}'{box})"


def box_shape(label: str, bbox: Any, attributes: Any, where: str, z_order: int = 0) -> Shape:
    """Turns [x, y, width, height], and a rotation among the attributes, into a box.

    Raises:
        MaskError: other than four numbers.
    """
    values = numbers(bbox, where)
    if values.size != 4:
        raise MaskError(where, f"a box of {values.size} numbers", "x, y, width, height")
    rotation = attributes.get("rotation", 0) if isinstance(attributes, dict) else 0
    x, y, width, height = values.tolist()
    corners = np.array([x, y, x + width, y + height])
    angle = float(rotation) if isinstance(rotation, int | float) else 0.0
    return Shape("box", label, corners, z_order, rotation=angle)


def _items(file: SourceFile, subset: str, names: dict[str, str], notes: Notes) -> Iterator[Item]:
    with AnnotationsByImage() as kept:
        _keep_annotations(kept, file, names, notes)
        for number, image in enumerate(objects(file, "images")):
            # Written on Windows by some tools; no file of an export has this sign in its name.
            name = str(image.get("file_name", "")).replace("\\", "/")
            height, width = image.get("height"), image.get("width")
            size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
            label = ShapesLabel(kept.of(number), parse_line, size, name)
            yield Item(stem(name), label, subset, image_name=name)


def _keep_annotations(
    kept: AnnotationsByImage, file: SourceFile, names: dict[str, str], notes: Notes
) -> None:
    ids = NameTable()
    for number, image in enumerate(objects(file, "images")):
        if ids.add(_id(image.get("id"), f"image {number} without id")) != number:
            raise _twice(file, image)
    for annotation in objects(file, "annotations"):
        number = ids.number_of(_id(annotation.get("image_id"), "\0"))
        if number is None:
            notes.count(_STRAY)
            continue
        if annotation.get("keypoints") and not annotation.get("segmentation"):
            # Its box is no object's: CVAT writes it about the points.
            notes.count("skeleton annotations (no area: not painted)")
            continue
        category = annotation.get("category_id")
        label = names.get(_id(category, ""), f"category {category}")
        kept.add(number, (label, {key: annotation.get(key) for key in _KEPT}))
    kept.sort()


def _twice(file: SourceFile, image: dict[str, Any]) -> DataError:
    same = _id(image.get("id"), "")
    images = (other for other in objects(file, "images") if _id(other.get("id"), "") == same)
    names = ", ".join(str(other.get("file_name")) for other in itertools.islice(images, 3))
    found = f"id {same} twice ({names}), and which has which labels cannot be told"
    return DataError(f"{file.name}: images", found, "an id an image", "number them anew")


def _id(value: Any, default: str) -> str:
    """Returns an id as text: some tools write the number 7 as "7" or 7.0 elsewhere."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) else default


def _categories(value: Any, where: str) -> dict[str, str]:
    names: dict[int, str] = {}
    for category in listed(value, f"{where}: categories"):
        if not isinstance(category.get("name"), str) or not isinstance(category.get("id"), int):
            raise DataError(f"{where}: categories", repr(category)[:60], "id and name")
        if names.setdefault(category["id"], category["name"]) != category["name"]:
            found = f"id {category['id']} for '{names[category['id']]}' and '{category['name']}'"
            raise DataError(f"{where}: categories", found, "an id a category", "number them anew")
    if not names:
        raise DataError(f"{where}: categories", "none", "the labels of the task")
    return {str(number): names[number] for number in sorted(names)}


def _is_companion(name: str, files: SourceFiles) -> bool:
    """True for person_keypoints_*.json and the like, which describe the same images again."""
    folder, _, plain = name.rpartition("/")
    subset = next((plain.removeprefix(p) for p in _COMPANIONS if plain.startswith(p)), "")
    return bool(subset) and f"{folder}/{_PREFIX}{subset}".lstrip("/") in files


def _subset(file: SourceFile, count: int) -> str:
    name = file.name.rpartition("/")[2].removesuffix(".json")
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) or count > 1 else ""
