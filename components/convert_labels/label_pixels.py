"""Colour masks and index masks of an export to masks of our label map, by table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.class_mapping import ClassMapping
from components.convert_labels.exports import BLACK, UNLABELLED, ColourLabel, IndexLabel
from segmentor.errors import LabelMapError, MaskError
from segmentor.image_io import decode_image, decode_index, read_header
from segmentor.label_map import IGNORE_INDEX, Colour, LabelClass

_ONE_CHANNEL = ("1", "L", "P")


class ClassListError(MaskError):
    """An index mask has more than two classes, and no class list says which they are."""

    def __init__(self, where: str, found: str, highest: int) -> None:
        remedy = "add a classes.txt, the name of each index, one a line"
        super().__init__(where, found, "0 and 1, or 0 and 255", remedy)
        self.highest = highest


@dataclass(frozen=True)
class PixelTables:
    """What each colour, and each index, of the export's masks becomes.

    colours: (colour, target) pairs; indices: the target of each index, in order of the classes.
    """

    colours: tuple[tuple[Colour, int], ...]
    indices: tuple[int, ...]
    names: tuple[str, ...]


def make_tables(
    classes: Sequence[LabelClass], mapping: ClassMapping, is_by_colour: bool
) -> PixelTables:
    """Makes the tables of an export's classes; `is_by_colour` where colours tell labels apart.

    Raises:
        LabelMapError: two labels share a colour and are to become different classes.
    """
    targets = {**mapping.targets, UNLABELLED: mapping.unlabelled}
    indices = tuple(targets[label.name] for label in classes)
    names = tuple(label.name for label in classes)
    if not is_by_colour:
        return PixelTables((), indices, names)
    owners: dict[Colour, LabelClass] = {}
    for label in classes:
        other = owners.setdefault(label.colour, label)
        if targets[other.name] != targets[label.name]:
            raise LabelMapError(
                "label map of the export",
                f"'{other.name}' and '{label.name}' have the same colour {label.colour}",
                "one colour a label",
                "export as CVAT for images 1.1, or merge the two with classes (or label_map)",
            )
    colours = {colour: targets[label.name] for colour, label in owners.items()}
    if UNLABELLED not in names:
        colours.setdefault(BLACK, mapping.unlabelled)
    return PixelTables(tuple(colours.items()), indices, names)


def read_colours(label: ColourLabel, tables: PixelTables) -> NDArray[np.uint8]:
    """Reads a colour mask; returns uint8 (H, W).

    Raises:
        ImageError: it cannot be decoded.
        MaskError: a colour that no label has; the first pixel is named.
    """
    rgb = decode_image(label.file.read(), label.file.name)
    # Four bytes a pixel make one number: red + 256 green + 65536 blue + alpha.
    codes = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).view(np.uint32)[:, :, 0] & 0xFFFFFF
    positions, values = _colour_table(tables)
    found = positions[codes]
    if not found.all():
        y, x = (int(v) for v in np.argwhere(found == 0)[0])
        colour = tuple(int(v) for v in rgb[y, x])
        unknown = int(np.count_nonzero(found == 0))
        listed = ", ".join(str(c) for c, _ in tables.colours[:8])
        raise MaskError(
            label.file.name,
            f"colour {colour} at (y={y}, x={x}), {unknown:,} pixels of no label's colour",
            f"one of {listed}{', ...' if len(tables.colours) > 8 else ''}",
            "add its label to the label map of the export",
        )
    return np.asarray(cv2.LUT(found, values) if found.itemsize == 1 else values[found], np.uint8)


@lru_cache(maxsize=1)
def _colour_table(tables: PixelTables) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint8]]:
    """Returns the position of each 24-bit colour, 0 for unknown ones, and the value of each."""
    # As large as all colours, but only touched pages take memory.
    positions = np.zeros(1 << 24, np.min_scalar_type(len(tables.colours)))
    values = np.zeros(max(256, len(tables.colours) + 1), np.uint8)
    for position, ((red, green, blue), target) in enumerate(tables.colours, 1):
        positions[red | green << 8 | blue << 16] = position
        values[position] = target
    return positions, values


def read_indices(label: IndexLabel, tables: PixelTables) -> NDArray[np.uint8]:
    """Reads an index mask, or a binary one of 0 and 1 or 255; returns uint8 (H, W).

    Raises:
        ImageError: it cannot be decoded.
        MaskError: an index that no label has; the first pixel is named.
        ClassListError: the same, where there is no class list.
    """
    content = label.file.read()
    name = label.file.name
    if read_header(content, name).mode in _ONE_CHANNEL:
        indices = decode_index(content, name)
    else:
        rgb = decode_image(content, name)
        indices = np.ascontiguousarray(rgb[:, :, 0])
        differs = (rgb != indices[:, :, None]).any(axis=2)
        if differs.any():
            y, x = (int(v) for v in np.argwhere(differs)[0])
            raise MaskError(
                name,
                f"colour {tuple(int(v) for v in rgb[y, x])} at (y={y}, x={x})",
                "an index mask of one channel",
                "give a labelmap.txt (name:r,g,b::) for colour masks",
            )
    values, known = _index_values(label, tables)
    stray = ~known[indices]
    if stray.any():
        y, x = (int(v) for v in np.argwhere(stray)[0])
        found = f"class index {indices[y, x]} at (y={y}, x={x})"
        if label.is_binary:
            raise ClassListError(name, found, int(indices[stray].max()))
        expected = f"0..{len(tables.names) - 1} or {IGNORE_INDEX}"
        raise MaskError(name, found, expected, "extend classes.txt")
    if label.is_binary and (indices == 1).any() and (indices == IGNORE_INDEX).any():
        raise MaskError(
            name,
            "both 1 and 255",
            "0 and 1, or 0 and 255",
            "a classes.txt, one name a line, makes 255 'no ground truth'",
        )
    return np.asarray(values[indices])


def _index_values(
    label: IndexLabel, tables: PixelTables
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    values = np.full(256, IGNORE_INDEX, np.uint8)
    known = np.zeros(256, np.bool_)
    values[: len(tables.indices)] = tables.indices
    known[: len(tables.indices)] = True
    if not known[IGNORE_INDEX]:
        known[IGNORE_INDEX] = True
        if label.is_binary:
            values[IGNORE_INDEX] = tables.indices[1]
    return values, known
