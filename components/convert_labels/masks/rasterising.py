"""Shapes to the pixels that they cover, as runs by columns of the whole image, exactly as CVAT.

Polygons and boxes are rasterised by pycocotools, ellipses by OpenCV with rounded centre and axes.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import pycocotools.mask as coco
from numpy.typing import NDArray

from components.convert_labels.masks.shape_places import corners, place
from components.convert_labels.raw_labels import Shape
from components.convert_labels.run_lengths import (
    REDRAW,
    Integers,
    Runs,
    runs_of_counts,
    runs_of_many,
)
from segmentor.errors import MaskError
from segmentor.plurals import counted

# A coordinate this far outside is a unit error; the rasteriser would take minutes.
MAX_COORDINATE = 1e6
# More pixels than any image has, and few enough that sums of runs stay exact integers.
MAX_RUN = 1e12
# A mask's box may reach over the edges of its image; one this much larger is of another image.
MAX_BOX_IMAGES = 4
# Boxes of fewer pixels are cheap, however small the image.
SMALL_BOX = 1 << 20
_OUTLINED = ("polygon", "box")


def shape_runs(shapes: Sequence[Shape], size: tuple[int, int], where: str) -> list[Runs]:
    """Return what each shape covers: starts and lengths of runs by columns of the whole image.

    Args:
        shapes: The shapes of one image.
        size: (height, width) of the image.
        where: What to call the image in errors.

    Raises:
        MaskError: invalid coordinates, or run lengths that do not add up.
    """
    if not _are_usual(shapes):
        for shape in shapes:
            _check(shape, where)
    points = {}
    for position, shape in enumerate(shapes):
        if shape.kind in _OUTLINED:
            outline = corners(shape) if shape.kind == "box" else shape.values
            if len(outline) < 6:
                found = counted(len(outline) // 2, "point")
                raise MaskError(place(shape, where), found, "at least 3", REDRAW)
            points[position] = outline
    runs: dict[int, Runs] = {}
    if points:
        # One call for all: a call for each would cost more than the rasterising.
        packed = coco.frPyObjects(list(points.values()), size[0], size[1])
        many = runs_of_many([entry["counts"] for entry in packed], size[0] * size[1])
        runs = dict(zip(points, many, strict=True))
    return [
        runs[position] if position in runs else _other_runs(shape, size, where)
        for position, shape in enumerate(shapes)
    ]


def _are_usual(shapes: Sequence[Shape]) -> bool:
    """Return True when `_check` would refuse none of them, as one look at all values tells."""
    values = np.concatenate([np.zeros(0), *(shape.values for shape in shapes)])
    are_finite = all(math.isfinite(shape.rotation) for shape in shapes)
    # A comparison with NaN is False.
    return are_finite and bool(np.abs(values).max(initial=0) <= MAX_COORDINATE)


def _check(shape: Shape, where: str) -> None:
    values = shape.values
    # max() propagates NaN and comparisons with NaN are False, so one pass checks both.
    if not (np.abs(values).max(initial=0) < math.inf and math.isfinite(shape.rotation)):
        found = "a coordinate that is not a number"
        raise MaskError(place(shape, where), found, "finite numbers", REDRAW)
    if shape.kind in ("mask", "rle"):
        if np.abs(values).max(initial=0) > MAX_RUN:
            raise MaskError(place(shape, where), "a run beyond all images", "run lengths", REDRAW)
        return
    if np.abs(values).max(initial=0) > MAX_COORDINATE:
        found = "a coordinate beyond a million"
        raise MaskError(place(shape, where), found, "pixels of the image", REDRAW)


def _other_runs(shape: Shape, size: tuple[int, int], where: str) -> Runs:
    if shape.kind == "ellipse":
        return _bit_runs(_ellipse(shape, size).T)
    if shape.kind == "mask":
        return _box_mask_runs(shape, size, where)
    stated = (int(shape.values[0]), int(shape.values[1]))
    if stated != size:
        found = f"run lengths for {stated[1]} x {stated[0]}"
        expected = f"the image's {size[1]} x {size[0]} (width x height)"
        raise MaskError(place(shape, where), found, expected, REDRAW)
    counts = shape.values[2:].astype(np.int64)
    return runs_of_counts(counts, size[0] * size[1], place(shape, where))


def _box_mask_runs(shape: Shape, size: tuple[int, int], where: str) -> Runs:
    """CVAT's mask: runs by rows of a box; what lies outside the image is cut off."""
    left, top, width, height = (int(value) for value in shape.values[:4])
    if width < 0 or height < 0:
        raise MaskError(where, f"a box of {width} x {height}", "the size of the mask")
    if width * height > max(SMALL_BOX, MAX_BOX_IMAGES * size[0] * size[1]):
        image = f"a box within the image's {size[1]} x {size[0]} (width x height)"
        found = f"a mask with a box of {width} x {height}"
        raise MaskError(place(shape, where), found, image, REDRAW)
    counts = shape.values[4:].astype(np.int64)
    starts, lengths = runs_of_counts(counts, width * height, place(shape, where))
    edges = np.zeros(width * height + 1, np.int8)
    edges[starts] = 1
    edges[starts + lengths] -= 1
    bits = np.cumsum(edges[:-1], dtype=np.int8).reshape(height, width)
    bits = bits[max(0, -top) : max(0, size[0] - top), max(0, -left) : max(0, size[1] - left)]
    if not bits.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    starts, lengths = _bit_runs(bits.T)
    # From columns of the box to columns of the image; a run may span several columns.
    rows = bits.shape[0]
    if rows == size[0]:
        return starts + max(0, left) * rows, lengths
    return _split_at_columns(starts, lengths, rows, size[0], max(0, left), max(0, top))


def _split_at_columns(
    starts: Integers, lengths: Integers, rows: int, height: int, left: int, top: int
) -> Runs:
    """Cut runs over a box of `rows` at its column ends, and moves them into the image."""
    first, last = starts // rows, (starts + lengths - 1) // rows
    pieces = last - first + 1
    which = np.repeat(np.arange(starts.size), pieces)
    column = first[which] + (np.arange(which.size) - np.repeat(np.cumsum(pieces) - pieces, pieces))
    begin = np.maximum(starts[which], column * rows)
    end = np.minimum((starts + lengths)[which], (column + 1) * rows)
    return (column + left) * height + top + (begin - column * rows), end - begin


def _ellipse(shape: Shape, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Source: CVAT, dataset_manager/formats/transformations.py, EllipsesToMasks."""
    centre_x, centre_y, radius_x, radius_y = shape.values.tolist()
    canvas = np.zeros(size, np.uint8)
    centre = (round(centre_x), round(centre_y))
    axes = (round(abs(radius_x)), round(abs(radius_y)))
    cv2.ellipse(canvas, centre, axes, shape.rotation, 0, 360, 1, thickness=-1)
    return canvas


def _bit_runs(bits: NDArray[np.generic]) -> Runs:
    flat = np.concatenate(([0], bits.ravel(), [0])).astype(np.int8)
    edges = np.flatnonzero(np.diff(flat))
    return edges[::2], edges[1::2] - edges[::2]
