import numpy as np
from cvat_sdk import masks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segmentor.cvat.shapes import components_of, encode

BITMAPS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(BITMAPS, st.integers(0, 5), st.integers(0, 5))
def test_cvat_reads_the_bitmap_that_was_encoded(bitmap, left, top):
    height, width = top + bitmap.shape[0] + 2, left + bitmap.shape[1] + 3
    decoded = masks.decode_mask(
        list(encode(bitmap, left, top)), image_width=width, image_height=height
    )
    expected = np.zeros((height, width), bool)
    expected[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
    np.testing.assert_array_equal(decoded, expected)


@given(arrays(np.uint8, (9, 14), elements=st.integers(0, 3)))
def test_components_put_together_are_the_mask(mask):
    components = components_of(mask, np.full(mask.shape, 0.75, np.float32), (1, 2, 3), 1, 1000)
    painted = np.zeros_like(mask)
    for component in components:
        bitmap = masks.decode_mask(list(component.points), image_width=14, image_height=9)
        assert not painted[bitmap].any()
        assert bitmap.sum() == component.pixels
        np.testing.assert_allclose(component.score, 0.75)
        # CVAT's own encoder gives the same numbers: the box is tight.
        assert masks.encode_mask(bitmap) == list(component.points)
        painted[bitmap] = component.class_index
    np.testing.assert_array_equal(painted, mask)


def test_diagonal_neighbours_are_one_component():
    mask = np.eye(5, dtype=np.uint8)
    (component,) = components_of(mask, np.ones((5, 5), np.float32), (1,), 1)
    assert component.pixels == 5


def test_specks_are_left_out_and_the_largest_are_kept():
    mask = np.zeros((20, 60), np.uint8)
    for index, side in enumerate([2, 3, 4, 5, 6]):
        mask[1 : 1 + side, 10 * index : 10 * index + side] = 1
    probability = np.linspace(0, 1, mask.size, dtype=np.float32).reshape(mask.shape)
    components = components_of(mask, probability, (1,), least_pixels=9, most=3)
    assert [component.pixels for component in components] == [36, 25, 16]
    largest = probability[1:7, 40:46]
    np.testing.assert_allclose(components[0].score, largest.mean(), rtol=1e-6)
