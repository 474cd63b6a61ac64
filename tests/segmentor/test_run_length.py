import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from segmentor.run_length import ClassRuns

masks = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 3)
)


@given(masks)
def test_pycocotools_decodes_each_class_to_its_pixels(mask):
    runs = ClassRuns(mask)
    for index in range(4):
        decoded = coco.decode({"size": list(runs.size), "counts": runs.counts(index)})
        np.testing.assert_array_equal(decoded, mask == index)


@given(masks)
def test_counts_are_those_pycocotools_writes(mask):
    expected = coco.encode(np.asfortranarray(mask == 1))["counts"].decode()
    assert ClassRuns(mask).counts(1) == expected


@given(masks)
def test_pixels_add_up_to_the_mask(mask):
    pixels = ClassRuns(mask).pixels(4)
    assert pixels == [int((mask == index).sum()) for index in range(4)]


def test_a_run_of_millions_of_pixels_is_written_whole():
    mask = np.zeros((3000, 4000), np.uint8)
    mask[-1, -1] = 1
    decoded = coco.decode({"size": [3000, 4000], "counts": ClassRuns(mask).counts(1)})
    assert decoded.sum() == 1
    assert decoded[-1, -1] == 1
