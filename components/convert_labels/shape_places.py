"""Where a shape is, as an annotator finds it on CVAT's screen: its kind, its label and its box."""

import math

import numpy as np

from components.convert_labels.exports import Shape

# What lies beyond is no place, and nobody reads its 300 digits.
FARTHEST = 1e12
_DECIMALS = 2


def place(shape: Shape, where: str) -> str:
    """Returns the place of a shape of the image `where`, as errors and findings begin."""
    return f"{where}, {named(shape)}"


def named(shape: Shape) -> str:
    """Returns `polygon 'road' at x 10..60, y 20..45`; without the box where it has none."""
    name = f"{'mask' if shape.kind == 'rle' else shape.kind} '{shape.label}'"
    box = _box(shape)
    if box is None:
        return name
    left, top, right, bottom = (f"{value:.0f}" for value in box)
    return f"{name} at x {left}..{right}, y {top}..{bottom}"


def corners(shape: Shape) -> list[float]:
    """Returns the corners of a box, turned clockwise about its centre by its rotation.

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


def _box(shape: Shape) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom; of broken shapes too, as far as they tell."""
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


def _box_of_runs(shape: Shape) -> tuple[float, float, float, float] | None:
    """Of runs by columns; where one goes on in the next column, the image's height."""
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
