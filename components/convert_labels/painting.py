"""Shapes to an index mask, pixel for pixel as CVAT's own mask exports paint them.

Polygons and boxes are rasterised by pycocotools, ellipses by OpenCV with rounded centre and axes;
higher z_order is on top, and of equal ones the later in the document. Groups do not relabel.
"""

import math
from collections.abc import Mapping

import cv2
import numpy as np
import pycocotools.mask as coco
from numpy.typing import NDArray

from components.convert_labels.exports import Finding, Shape, ShapesLabel
from components.convert_labels.run_lengths import Integers, runs_of_counts, unpack_counts
from segmentor.errors import MaskError

# A shape that loses more than this to later ones of another class is worth a look.
LOSS_REPORTED = 0.2
# Fewer visible pixels than this are a slip of the mouse more often than a label.
TINY_PIXELS = 10
# Runs shorter than this on average are filled pixel by pixel, which is faster than one by one.
SHORT_RUN = 100
# A coordinate this far outside is a unit error; the rasteriser would take minutes.
MAX_COORDINATE = 1e6


def paint(
    label: ShapesLabel,
    size: tuple[int, int],
    targets: Mapping[str, int],
    unlabelled: int,
) -> tuple[NDArray[np.uint8], list[Finding]]:
    """Paints the shapes of one image.

    Args:
        label: The shapes.
        size: (height, width) of the image.
        targets: The mask value of each label.
        unlabelled: The mask value where no shape is.

    Returns:
        The mask, uint8 (H, W), and what is odd about its shapes.

    Raises:
        MaskError: an unknown label, coordinates that are none, or run lengths that do not add up.
    """
    height, width = size
    parsed = label.shapes()
    shapes = sorted(enumerate(parsed), key=lambda pair: (pair[1].z_order, pair[0]))
    # By columns, as COCO's runs go; each pixel holds the position of its shape, 0 for none.
    owners = np.zeros(height * width, np.min_scalar_type(len(shapes)))
    values = np.full(len(shapes) + 1, unlabelled, np.uint8)
    covered = []
    for owner, (position, shape) in enumerate(shapes, 1):
        where = f"{label.where}, {shape.kind} {position + 1}"
        if shape.label not in targets:
            known = ", ".join(targets)
            raise MaskError(where, f"label '{shape.label}'", f"one of {known}")
        values[owner] = targets[shape.label]
        starts, lengths = column_runs(shape, size, where)
        covered.append((where, shape.label, starts, lengths))
        _fill(owners, starts, lengths, owner)
    flat = cv2.LUT(owners, np.resize(values, 256))[:, 0] if owners.itemsize == 1 else values[owners]
    findings = _findings(covered, owners, flat, values) + _mixed_groups(parsed, label.where)
    mask = cv2.transpose(flat.reshape(width, height))
    return np.asarray(mask, np.uint8), findings


def column_runs(shape: Shape, size: tuple[int, int], where: str) -> tuple[Integers, Integers]:
    """Returns what a shape covers: starts and lengths of runs by columns of the whole image.

    Raises:
        MaskError: coordinates that are none, or run lengths that do not add up.
    """
    if not np.isfinite(shape.values).all() or not math.isfinite(shape.rotation):
        raise MaskError(where, "a coordinate that is no number", "finite numbers")
    if shape.kind == "rle":
        stated = (int(shape.values[0]), int(shape.values[1]))
        if stated != size:
            raise MaskError(where, f"run lengths of {stated}", f"the image's {size}")
        return runs_of_counts(shape.values[2:].astype(np.int64), size[0] * size[1], where)
    if shape.kind == "mask":
        return _box_mask_runs(shape, size, where)
    if np.abs(shape.values).max(initial=0) > MAX_COORDINATE:
        raise MaskError(where, "a coordinate beyond a million", "pixels of the image")
    if shape.kind == "ellipse":
        return _bit_runs(_ellipse(shape, size).T)
    points = corners(shape) if shape.kind == "box" else shape.values
    if points.size < 6:
        raise MaskError(where, f"{points.size // 2} points", "at least 3")
    packed = coco.frPyObjects([points.tolist()], size[0], size[1])[0]["counts"]
    return runs_of_counts(unpack_counts(packed, where), size[0] * size[1], where)


def corners(shape: Shape) -> NDArray[np.float64]:
    """Returns the corners of a box, turned clockwise about its centre by its rotation."""
    left, top, right, bottom = shape.values.tolist()
    points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    if shape.rotation:
        centre = np.array([(left + right) / 2, (top + bottom) / 2])
        angle = math.radians(shape.rotation)
        cosine, sine = math.cos(angle), math.sin(angle)
        points = (points - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre
    return points.ravel()


def _box_mask_runs(shape: Shape, size: tuple[int, int], where: str) -> tuple[Integers, Integers]:
    """CVAT's mask: runs by rows of a box; what lies outside the image is cut off."""
    left, top, width, height = (int(value) for value in shape.values[:4])
    if width < 0 or height < 0 or width * height > 1 << 31:
        raise MaskError(where, f"a box of {width} x {height}", "the size of the mask")
    starts, lengths = runs_of_counts(shape.values[4:].astype(np.int64), width * height, where)
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
) -> tuple[Integers, Integers]:
    """Cuts runs over a box of `rows` at its column ends, and moves them into the image."""
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


def _bit_runs(bits: NDArray[np.generic]) -> tuple[Integers, Integers]:
    flat = np.concatenate(([0], bits.ravel(), [0])).astype(np.int8)
    edges = np.flatnonzero(np.diff(flat))
    return edges[::2], edges[1::2] - edges[::2]


def _fill(
    owners: NDArray[np.unsignedinteger], starts: Integers, lengths: Integers, owner: int
) -> None:
    if lengths.sum() < SHORT_RUN * lengths.size:
        owners[_positions(starts, lengths)] = owner
        return
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        owners[start : start + length] = owner


def _positions(starts: Integers, lengths: Integers) -> Integers:
    """Returns the position of every pixel of the runs."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


def _mixed_groups(shapes: tuple[Shape, ...], where: str) -> list[Finding]:
    labels: dict[str, set[str]] = {}
    for shape in shapes:
        if shape.group:
            labels.setdefault(shape.group, set()).add(shape.label)
    return [
        Finding(
            "mixed-label group",
            f"{where}, group {group}: {', '.join(sorted(names))}; each shape keeps its own label "
            "(CVAT's mask exports would give all that of the largest)",
        )
        for group, names in labels.items()
        if len(names) > 1
    ]


def _findings(
    covered: list[tuple[str, str, Integers, Integers]],
    owners: NDArray[np.unsignedinteger],
    flat: NDArray[np.uint8],
    values: NDArray[np.uint8],
) -> list[Finding]:
    findings = []
    for owner, (where, label, starts, lengths) in enumerate(covered, 1):
        area = int(lengths.sum())
        if area < TINY_PIXELS:
            findings.append(Finding("tiny shape", f"{where} ('{label}'): {area} pixels"))
            continue
        span = owners[starts[0] : starts[-1] + lengths[-1]]
        if np.count_nonzero(span == owner) >= (1 - LOSS_REPORTED) * area:
            continue
        # What a later shape of the same class covers is not lost.
        kept = np.count_nonzero(flat[_positions(starts, lengths)] == values[owner])
        if kept < (1 - LOSS_REPORTED) * area:
            lost = 100 * (1 - kept / area)
            text = f"{where} ('{label}') loses {lost:.0f} % of {area:,} pixels to later shapes"
            findings.append(Finding("overlap", text))
    return findings
