"""COCO 1.0: annotations/instances_<subset>.json; polygons, and run lengths packed or plain.

z order is not in the file: what comes later is on top. Brush masks have iscrowd=1; they are kept.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from components.convert_labels.formats.annotations_by_image import AnnotationsByImage
from components.convert_labels.formats.json_annotations import (
    annotation_files,
    first_value,
    has_annotations,
    listed,
    numbers,
    objects,
    run_values,
)
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
from components.convert_labels.source.files import SourceFile, SourceFiles
from components.convert_labels.source.image_finder import stem
from segmentor.errors import DataError, MaskError
from segmentor.label_map import LabelClass, class_colour
from segmentor.plurals import counted

_KEYS = {"images", "annotations", "categories"}
_PREFIX = "instances_"
_COMPANIONS = ("person_keypoints_", "captions_", "labels_", "stuff_", "panoptic_", "image_info_")
# Larger numbers cannot be coordinates in an image.
FARTHEST = 1e9
# Keys of an annotation that we read.
_KEPT = ("segmentation", "bbox", "attributes")
_STRAY = "annotations of images that are not listed (left out)"


def recognises(files: SourceFiles) -> bool:
    """Return True when a JSON file lists images, annotations and categories."""
    return has_annotations(files, _KEYS)


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export.

    Raises:
        DataError: a list is missing or broken, or the subsets disagree on the categories.
    """
    found = annotation_files(files, _KEYS, lambda name: _is_companion(name, files))
    subsets = {file.name: _subset(file, len(found)) for file in found}
    notes = Notes()
    names = {file.name: _categories(first_value(file, "categories"), file.name) for file in found}
    every = list(dict.fromkeys(name for known in names.values() for name in known.values()))
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
            yield from _items(file, subsets[file.name], names[file.name], notes)

    return Export(
        format="COCO 1.0",
        classes=tuple(
            LabelClass(name, class_colour(position)) for position, name in enumerate(every, 1)
        ),
        items=items,
        image_folders=("images", "", "data"),
        subsets=tuple(sorted(subsets.values())),
        count=sum(counts),
        remarks=_different(names, every),
        notes=notes,
    )


def _different(names: Mapping[str, Mapping[str, str]], every: Sequence[str]) -> tuple[str, ...]:
    """Say which files lack which categories: a name written otherwise is another class."""
    lacking = [
        f"{file} has no {', '.join(repr(name) for name in every if name not in known.values())}"
        for file, known in names.items()
        if set(known.values()) != set(every)
    ]
    if not lacking:
        return ()
    return (
        f"The categories differ between files and are told apart by name: {'; '.join(lacking)}",
    )


def parse_line(line: bytes, where: str) -> tuple[Shape, ...]:
    """Turn what was kept of an annotation into shapes.

    Raises:
        MaskError: an invalid segmentation.
    """
    label, annotation = json.loads(line)
    return parse_annotation((label, annotation), where)


def parse_annotation(record: tuple[str, dict[str, Any]], where: str) -> tuple[Shape, ...]:
    """Turn an annotation and its label into shapes: one a polygon.

    Raises:
        MaskError: an invalid segmentation.
    """
    label, annotation = record
    where = _placed(where, label, annotation.get("bbox"))
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        runs = run_values(segmentation, where)
        return (Shape("rle", label, runs, stated_box=stated_box(annotation.get("bbox"))),)
    if isinstance(segmentation, list) and segmentation:
        polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
        shapes = tuple(Shape("polygon", label, numbers(points, where)) for points in polygons)
        if any(shape.values.size % 2 for shape in shapes):
            raise MaskError(where, "an odd count of coordinates", "x, y, x, y, ...")
        return shapes
    if segmentation in (None, []) and annotation.get("bbox"):
        return (box_shape(label, annotation["bbox"], annotation.get("attributes"), where),)
    raise MaskError(where, f"segmentation {repr(segmentation)[:40]}", "polygons or run lengths")


def stated_box(bbox: Any) -> tuple[float, float, float, float] | None:
    """Return the corners of [x, y, width, height]; None where it is not a box."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    if not all(isinstance(v, int | float) and abs(v) < FARTHEST for v in bbox):
        return None
    x, y, width, height = map(float, bbox)
    # The last pixel is inside.
    return (x, y, x + width - 1, y + height - 1) if width > 0 and height > 0 else None


def _placed(where: str, label: str, bbox: Any) -> str:
    """Return where an annotation is, for errors: its label, and its box if it has one."""
    is_box = isinstance(bbox, list) and [isinstance(v, int | float) for v in bbox] == [True] * 4
    box = f" at x {bbox[0]:.0f}, y {bbox[1]:.0f}" if is_box else ""
    return f"{where} ('{label}'{box})"


def box_shape(label: str, bbox: Any, attributes: Any, where: str, z_order: int = 0) -> Shape:
    """Turn [x, y, width, height], and a rotation among the attributes, into a box.

    Raises:
        MaskError: other than four numbers.
    """
    values = numbers(bbox, where)
    if values.size != 4:
        raise MaskError(where, f"a box of {counted(values.size, 'number')}", "x, y, width, height")
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
    ids: dict[str, int] = {}
    for number, image in enumerate(objects(file, "images")):
        if ids.setdefault(_id(image.get("id"), f"image {number} without id"), number) != number:
            raise _twice(file, image)
    for annotation in objects(file, "annotations"):
        owner = ids.get(_id(annotation.get("image_id"), "\0"))
        if owner is None:
            notes.count(_STRAY)
            continue
        if annotation.get("keypoints") and not annotation.get("segmentation"):
            # CVAT writes the bounding box of the points, not of an object.
            notes.count("skeleton annotations (no area: not painted)")
            continue
        category = annotation.get("category_id")
        label = names.get(_id(category, ""), f"category {category}")
        kept.add(owner, (label, {key: annotation.get(key) for key in _KEPT}))
    kept.sort()


def _twice(file: SourceFile, image: dict[str, Any]) -> DataError:
    same = _id(image.get("id"), "")
    images = (other for other in objects(file, "images") if _id(other.get("id"), "") == same)
    names = ", ".join(str(other.get("file_name")) for other in itertools.islice(images, 3))
    found = f"id {same} twice ({names}), so their labels cannot be assigned"
    return DataError(f"{file.name}: images", found, "one id per image", "renumber them")


def _id(value: Any, default: str) -> str:
    """Return an id as text: some tools write the number 7 as "7" or 7.0 elsewhere."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) else default


def _categories(value: Any, where: str) -> dict[str, str]:
    """Return the name of each category by its id, which some tools write as a text."""
    names: dict[str, str] = {}
    for category in listed(value, f"{where}: categories"):
        number, name = _id(category.get("id"), ""), category.get("name")
        if not isinstance(name, str) or not number:
            raise DataError(f"{where}: categories", repr(category)[:60], "id and name")
        name = class_name(name)
        if names.setdefault(number, name) != name:
            found = f"id {number} for '{names[number]}' and '{name}'"
            raise DataError(f"{where}: categories", found, "one id per category", "renumber them")
    if not names:
        raise DataError(f"{where}: categories", "none", "the labels of the task")
    # By number, as the colours of classes follow this order.
    return dict(sorted(names.items(), key=lambda pair: (len(pair[0]), pair[0])))


def _is_companion(name: str, files: SourceFiles) -> bool:
    """Return True for files like person_keypoints_*.json: they describe the same images again."""
    folder, _, plain = name.rpartition("/")
    subset = next((plain.removeprefix(p) for p in _COMPANIONS if plain.startswith(p)), "")
    return bool(subset) and f"{folder}/{_PREFIX}{subset}".lstrip("/") in files


def _subset(file: SourceFile, count: int) -> str:
    folder, _, plain = file.name.rpartition("/")
    if folder and folder != "annotations":
        return folder if count > 1 or folder.lower() in SUBSETS else ""
    name = plain.removesuffix(".json")
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) or count > 1 else ""


FORMAT = Format(
    "COCO 1.0", "a JSON file with `images`, `annotations`, `categories`", recognises, read
)
