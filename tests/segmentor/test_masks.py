import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segmentor.errors import ImageError, MaskError
from segmentor.image_io import decode_index, encode_index, encode_png
from segmentor.label_map import LabelClass, LabelMap, class_colour
from segmentor.masks import (
    brightened,
    count_classes,
    overlay,
    overlay_legend,
    resize_mask,
)

ROAD = LabelMap.of(["background", "road"])


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_encoded_mask_decodes_to_itself(mask):
    np.testing.assert_array_equal(decode_index(encode_index(mask), "m"), mask)


def test_counts_leave_ignored_pixels_out():
    mask = np.array([[0, 1, 1], [255, 255, 0]], np.uint8)
    assert count_classes(mask, ROAD, "m") == [2, 2]


def test_unknown_class_index_is_named_with_its_coordinate():
    mask = np.zeros((20, 300), np.uint8)
    mask[17, 203] = 9
    with pytest.raises(MaskError, match=r"m.png: class index 9 at \(y=17, x=203\), expected 0..1"):
        count_classes(mask, ROAD, "m.png")


def test_colour_png_is_no_mask():
    with pytest.raises(ImageError, match="RGB image, expected one channel"):
        decode_index(encode_png(np.zeros((2, 2, 3), np.uint8)), "m")


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_resizing_a_mask_invents_no_class(mask, size):
    resized = resize_mask(mask, size)
    assert resized.shape == size
    assert set(np.unique(resized)) <= set(np.unique(mask))


def test_overlay_leaves_background_as_it_is_and_tints_the_class():
    image = np.full((20, 20, 3), 100, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    result = overlay(image, mask, ROAD)
    assert (result[0, 0] == 100).all()
    assert (result[10, 10] != 100).any()


def test_the_legend_has_each_colour_once_and_says_what_is_not_drawn():
    black, white, red = (0, 0, 0), (255, 255, 255), (255, 0, 0)
    names = [("background", black), ("tram", black), ("snow", white), ("dog", red), ("cat", red)]
    label_map = LabelMap(tuple(LabelClass(*pair) for pair in names))
    assert overlay_legend(label_map) == [
        ("background (not drawn)", black),
        ("tram", black),
        ("snow, ignore (of one colour)", white),
        ("dog, cat (of one colour)", red),
    ]
    assert overlay_legend(LabelMap.of(["sky"])) == [("sky", class_colour(0)), ("ignore", white)]


def test_a_photograph_at_dusk_is_lifted_for_eyes_and_a_bright_one_is_not():
    dusk = np.random.default_rng(0).integers(0, 60, (20, 30, 3), np.uint8)
    lifted = brightened(dusk)
    assert lifted.mean() > 2 * dusk.mean()
    order = np.argsort(dusk.ravel(), kind="stable")
    assert (np.diff(lifted.ravel()[order].astype(int)) >= 0).all()  # no detail is turned about
    bright = np.full((4, 4, 3), 150, np.uint8)
    assert (brightened(bright) == bright).all()
    assert (brightened(np.zeros((4, 4, 3), np.uint8)) == 0).all()
