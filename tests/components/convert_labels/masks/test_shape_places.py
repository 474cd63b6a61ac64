"""The place of a shape: the box that an annotator looks for, from every kind of shape."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.convert_labels.masks.rasterising import shape_runs
from components.convert_labels.masks.shape_places import named, place
from components.convert_labels.raw_labels import Shape

SIZE = (40, 60)


def shape(kind: str, *values: float, rotation: float = 0) -> Shape:
    return Shape(kind, "road", np.array(values, np.float64), rotation=rotation)


@pytest.mark.parametrize(
    ("drawn", "text"),
    [
        (shape("polygon", 10, 10, 60, 12, 30, 59.8), "polygon 'road' at x 10..60, y 10..60"),
        (shape("box", 1, 2, 30, 4), "box 'road' at x 1..30, y 2..4"),
        (shape("box", 0, 0, 20, 10, rotation=90), "box 'road' at x 5..15, y -5..15"),
        (shape("ellipse", 20, 10, 8, 4), "ellipse 'road' at x 12..28, y 6..14"),
        (shape("ellipse", 20, 10, 8, 4, rotation=90), "ellipse 'road' at x 16..24, y 2..18"),
        (shape("mask", 5, 6, 3, 2, 0, 6), "mask 'road' at x 5..7, y 6..7"),
        (shape("rle", 10, 10, 12, 3, 7, 4, 74), "mask 'road' at x 1..2, y 2..5"),
        (shape("rle", 10, 10, 12, 10, 78), "mask 'road' at x 1..2, y 0..9"),
        (shape("rle", 10, 10, 100), "mask 'road'"),
        (shape("rle", 0, 10, 5, 5), "mask 'road'"),
        (shape("polygon", 1, math.nan, 2, 3), "polygon 'road'"),
        (shape("polygon"), "polygon 'road'"),
        (shape("rle", 10, 10, 5e307, 1.7e308, 1.7e308), "mask 'road'"),
        (shape("box", 1, 2, 1e300, 4), "box 'road'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_shape_is_named_by_its_label_and_its_box(drawn: Shape, text: str) -> None:
    assert named(drawn) == text
    assert place(drawn, "a.png") == f"a.png, {text}"


@given(
    st.sampled_from(["polygon", "box", "ellipse"]),
    st.lists(st.integers(2, 30), min_size=4, max_size=4),
    st.integers(0, 359),
)
def test_what_a_shape_paints_lies_in_the_box_that_is_named(
    kind: str, values: list[int], rotation: int
) -> None:
    points = [*values, 5, 5] if kind == "polygon" else values
    if kind == "box":
        points = [*np.sort(values[::2]), *np.sort(values[1::2])]
        points = [points[0], points[2], points[1], points[3]]
    drawn = shape(kind, *points, rotation=0 if kind == "polygon" else rotation)
    starts, lengths = shape_runs([drawn], SIZE, "a.png")[0]
    box = named(drawn).split(" at ")[1]
    (left, right), (top, bottom) = (
        (int(end) for end in axis.split(" ")[1].split("..")) for axis in box.split(", ")
    )
    pixels = np.concatenate(
        [np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)] or [[]]
    )
    # OpenCV draws a rotated ellipse up to two pixels wider.
    assert ((pixels // SIZE[0] >= left - 2) & (pixels // SIZE[0] <= right + 2)).all()
    assert ((pixels % SIZE[0] >= top - 2) & (pixels % SIZE[0] <= bottom + 2)).all()
