"""LabelMe 3.0, as CVAT writes it: an XML file an image, with polygons, and masks as PNG files."""

import itertools
import posixpath
import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import cv2
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.formats.cvat_xml import elements
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
from segmentor.image_io import read_header
from segmentor.label_map import LabelClass, class_colour
from segmentor.plurals import counted

# Tells LabelMe's XML from PASCAL VOC's, whose root has the same name and which has boxes.
_MARK = re.compile(rb"<(polygon|segm)>")
_HEAD = re.compile(rb"<annotation>")
_LOOKED_AT = 20
_TAGS = ("filename", "folder", "imagesize", "object")


def recognises(files: SourceFiles) -> bool:
    """Return True when one of the first XML files has a polygon or mask of LabelMe."""
    return any(_is_labelme(files[n]) for n in itertools.islice(_xml_names(files), _LOOKED_AT))


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export.

    Raises:
        DataError: a file is not well-formed XML, or none has an object.
    """
    paths = list(_xml_names(files))
    labels: set[str] = set()
    for path in paths:
        labels |= {_label(found) for found in elements(files[path], ("object",))}
    if not labels:
        raise DataError(
            files.where, f"no object in {counted(len(paths), 'file')}", "labelled images"
        )
    notes = Notes()

    def items() -> Iterator[Item]:
        notes.clear()
        for path in paths:
            yield _item(path, files, notes)

    return Export(
        format="LabelMe 3.0",
        classes=tuple(
            LabelClass(name, class_colour(position))
            for position, name in enumerate(sorted(labels), 1)
        ),
        items=items,
        image_folders=("Images", "images", ""),
        subsets=tuple(sorted({_place(path)[0] for path in paths})),
        count=len(paths),
        notes=notes,
    )


def parse_object(record: tuple[str, Any], where: str) -> tuple[Shape, ...]:
    """Turn an object's label, and its points or its mask's file, into a shape.

    Raises:
        MaskError: a coordinate is not a number, or the mask cannot be read.
    """
    label, found = record
    where = f"{where} ('{label}')"
    if isinstance(found, SourceFile):
        pixels = _mask_pixels(found, where)
        values = [*pixels.shape, *runs_by_rows(pixels.T)]
        return (Shape("rle", label, np.array(values, np.float64)),)
    try:
        return (Shape("polygon", label, np.array([float(v) for v in found], np.float64)),)
    except (ValueError, OverflowError) as error:
        raise MaskError(where, f"a point that cannot be read ({error})", "numbers") from error


def _mask_pixels(file: SourceFile, where: str) -> NDArray[np.bool_]:
    """Return what a mask covers: what is not transparent, else what is not black."""
    content = file.read()
    try:
        read_header(content, file.name)
    except ImageError as error:
        raise MaskError(where, f"a mask that cannot be read ({error})", "a PNG") from error
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise MaskError(where, f"a mask that cannot be read ({file.name})", "a PNG")
    values = np.atleast_3d(np.asarray(pixels))
    covered = values[:, :, 3] if values.shape[2] == 4 else values.max(axis=2)
    return np.asarray(covered > 0)


def _xml_names(files: SourceFiles) -> Iterator[str]:
    return iter(sorted(name for name in files if name.lower().endswith(".xml")))


def _is_labelme(file: SourceFile) -> bool:
    with file.open() as stream:
        content = stream.read()
    return bool(_HEAD.search(content) and _MARK.search(content))


def _item(path: str, files: SourceFiles, notes: Notes) -> Item:
    filename, size, records = "", None, []
    subset, name = _place(path)
    for found in elements(files[path], _TAGS):
        if found.tag == "filename":
            filename = (found.text or "").strip()
        elif found.tag == "imagesize":
            rows, columns = found.findtext("nrows") or "", found.findtext("ncols") or ""
            if rows.isdecimal() and columns.isdecimal() and int(rows):
                size = int(rows), int(columns)
        elif found.tag == "object" and (found.findtext("deleted") or "0").strip() != "1":
            records += _records(found, path, files, name, notes)
    # The image has the XML's place, or the name that the XML gives.
    inside = posixpath.join(posixpath.dirname(name), posixpath.basename(filename))
    label = ShapesLabel(tuple(records), parse_object, size, f"{subset}/{name}".lstrip("/"))
    return Item(name, label, subset, image_name=inside if stem(inside) == name else "")


def _records(
    found: Element, path: str, files: SourceFiles, name: str, notes: Notes
) -> list[tuple[str, Any]]:
    label = _label(found)
    if mask := (found.findtext("segm/mask") or "").strip():
        subset = _place(path)[0]
        for folder in (f"Masks/{subset}", f"{posixpath.dirname(path)}/Masks", "Masks", subset):
            candidate = posixpath.normpath(posixpath.join(folder.strip("/"), mask))
            if candidate in files:
                return [(label, files[candidate])]
        raise DataError(path, f"mask {mask}, which is not there", "every mask that it names")
    points = [
        (point.findtext(axis) or "").strip()
        for point in found.iterfind("polygon/pt")
        for axis in ("x", "y")
    ]
    if len(points) < 6:
        notes.count("objects of fewer than 3 points (no area: not painted)", name)
        return []
    return [(label, points)]


def _label(found: Element) -> str:
    return class_name((found.findtext("name") or "").strip())


def _place(path: str) -> tuple[str, str]:
    """Return the subset, which is a folder, and the rest of the name."""
    plain = path.removesuffix(".xml").removeprefix("Annotations/")
    subset, slash, name = plain.partition("/")
    return (subset, name) if slash else ("", plain)


FORMAT = Format("LabelMe 3.0", "an XML file an image, with `<polygon>`", recognises, read)
