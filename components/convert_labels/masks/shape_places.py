"""Where a shape is, as an annotator finds it on CVAT's screen: its kind, its label and its box."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from components.convert_labels.raw_labels import Finding, Shape
from segmentor.plurals import counted

# Larger coordinates are not printed: they may have 300 digits.
FARTHEST = 1e12
_DECIMALS = 2
# Shapes may reach this many pixels over the edge: annotators draw up to it, and tools round.
EDGE = 1.0
# Run lengths whose edges are farther from the stated box, in pixels and as a share of its longer
# side, are of another image, or transposed.
EDGES_APART, EDGES_APART_SHARE = 2.0, 0.2

Box = tuple[float, float, float, float]


def place(shape: Shape, where: str) -> str:
    """Return the place of a shape of the image `where`, as errors and findings begin."""
    return f"{where}, {named(shape)}"


def named(shape: Shape) -> str:
    """Return `polygon 'road' at x 10..60, y 20..45`; without the box where it has none."""
    name = f"{'mask' if shape.kind == 'rle' else shape.kind} '{shape.label}'"
    box = _box(shape)
    if box is None:
        return name
    left, top, right, bottom = (f"{value:.0f}" for value in box)
    return f"{name} at x {left}..{right}, y {top}..{bottom}"


def corners(shape: Shape) -> list[float]:
    """Return the corners of a box, turned clockwise about its centre by its rotation.

    Source: CVAT, RotatedBoxesToPolygons; datumaro, _Shape.points (COORDINATE_ROUNDING_DIGITS).
    """
    left, top, right, bottom = shape.values.tolist()
    points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    if shape.rotation:
        centre = np.array([(left + right) / 2, (top + bottom) / 2])
        angle = math.radians(shape.rotation)
        cosine, sine = math.cos(angle), math.sin(angle)
        points = (points - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre
        # CVAT makes a polygon of such a box, and rounds it before it is painted.
        points = np.around(points, _DECIMALS)
    flat: list[float] = points.ravel().tolist()
    return flat


def is_box(shape: Shape) -> bool:
    """Return True for an upright rectangle, also one that is written as a polygon."""
    if shape.kind == "box":
        return not shape.rotation
    if shape.kind != "polygon" or shape.values.size not in (8, 10):
        return False
    points = shape.values.tolist()
    return len(set(points[::2])) == 2 and len(set(points[1::2])) == 2


def misfits(shapes: Sequence[Shape], size: tuple[int, int], where: str) -> Iterator[Finding]:
    """Yield a finding for each shape that reaches outside its image, or misses its stated box."""
    outlined = [shape.values for shape in shapes if shape.kind in ("polygon", "box")]
    points = np.concatenate([np.zeros(0), *outlined]).reshape(-1, 2)
    # One look at all points tells in nearly every image that none is outside.
    inside = not outlined or bool(
        (points >= -EDGE).all() and (points <= np.array(size[::-1]) + EDGE).all()
    )
    for shape in shapes:
        if inside and (shape.kind in ("polygon", "box") or shape.values.size < 4):
            continue
        if shape.kind == "rle" and not shape.stated_box:
            continue
        box = _box(shape)
        if box is None:
            continue
        left, top, right, bottom = box
        over = max(-left, -top, right - size[1], bottom - size[0])
        if over > EDGE:
            image = f"the image's {size[1]} x {size[0]} (width x height)"
            text = f"{place(shape, where)} reaches {counted(round(over), 'pixel')} outside {image}"
            yield Finding("outside the image", text)
        if shape.stated_box and not _is_near(box, shape.stated_box):
            x1, y1, x2, y2 = (f"{value:.0f}" for value in shape.stated_box)
            text = f"{place(shape, where)}: its bbox says x {x1}..{x2}, y {y1}..{y2}"
            yield Finding("run lengths not in their bbox", text)


def extent(shapes: Sequence[Shape]) -> tuple[float, float]:
    """Return the largest y and x of the shapes' boxes: (0, 0) of none."""
    boxes = [box for shape in shapes if (box := _box(shape)) is not None]
    return max((box[3] for box in boxes), default=0.0), max((box[2] for box in boxes), default=0.0)


def _is_near(box: Box, stated: Box) -> bool:
    """Return True if no edge is farther off than rounding explains."""
    side = max(stated[2] - stated[0], stated[3] - stated[1])
    farthest = max(abs(one - other) for one, other in zip(box, stated, strict=True))
    return farthest <= max(EDGES_APART, EDGES_APART_SHARE * side)


def _box(shape: Shape) -> Box | None:
    """Return left, top, right and bottom; for broken shapes as far as they are known."""
    values = shape.values
    # Written so that NaN is refused too.
    if values.size < 4 or not (np.abs(values).max() <= FARTHEST and math.isfinite(shape.rotation)):
        return None
    if shape.kind == "rle":
        return _box_of_runs(shape)
    if shape.kind == "mask":
        left, top, width, height = values[:4].tolist()
        return left, top, left + width - 1, top + height - 1
    if shape.kind == "ellipse":
        x, y, radius_x, radius_y = values.tolist()
        angle = math.radians(shape.rotation)
        half_width = math.hypot(radius_x * math.cos(angle), radius_y * math.sin(angle))
        half_height = math.hypot(radius_x * math.sin(angle), radius_y * math.cos(angle))
        return x - half_width, y - half_height, x + half_width, y + half_height
    points = corners(shape) if shape.kind == "box" else values.tolist()
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _box_of_runs(shape: Shape) -> Box | None:
    """Return the box of runs by columns; a run that spans columns takes the image's height."""
    height, counts = int(shape.values[0]), shape.values[2:]
    lengths = counts[1::2]
    first = np.cumsum(counts)[1::2] - lengths
    first, lengths = first[lengths > 0], lengths[lengths > 0]
    if height <= 0 or not first.size:
        return None
    last = first + lengths - 1
    left, right = float(first.min() // height), float(last.max() // height)
    if (first // height != last // height).any():
        return left, 0.0, right, height - 1.0
    return left, float((first % height).min()), right, float((last % height).max())
