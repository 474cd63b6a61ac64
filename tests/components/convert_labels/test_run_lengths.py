"""Run lengths, both ways and against pycocotools."""

import tracemalloc

import numpy as np
import pycocotools.mask as coco
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from components.convert_labels.formats.cvat_xml import parse_shape
from components.convert_labels.masks.rasterising import shape_runs
from components.convert_labels.raw_labels import Shape
from components.convert_labels.run_lengths import runs_of_counts, runs_of_many, unpack_counts
from segmentor.errors import MaskError
from tests.components.convert_labels.label_builders import (
    Drawn,
    cvat_attributes,
    plain_runs,
)

bits = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))


def filled(starts: NDArray[np.int64], lengths: NDArray[np.int64], pixels: int) -> NDArray[np.bool_]:
    flat = np.zeros(pixels, np.bool_)
    for start, length in zip(starts, lengths, strict=True):
        assert not flat[start : start + length].any()
        flat[start : start + length] = True
    return flat


@given(bits)
def test_counts_give_back_the_bits(mask: NDArray[np.bool_]) -> None:
    counts = np.array(plain_runs(mask.ravel()), np.int64)
    starts, lengths = runs_of_counts(counts, mask.size, "mask")
    assert (filled(starts, lengths, mask.size) == mask.ravel()).all()


@given(bits)
def test_packed_counts_of_pycocotools_are_unpacked(mask: NDArray[np.bool_]) -> None:
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert unpack_counts(packed, "mask").tolist() == plain_runs(mask.T.ravel())


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 25), st.integers(1, 25)))
)
def test_many_masks_unpacked_at_once_are_those_unpacked_one_by_one(
    masks: NDArray[np.bool_],
) -> None:
    packed = [coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] for mask in masks]
    found = runs_of_many(packed, masks[0].size)
    assert len(found) == len(masks)
    for mask, runs in zip(masks, found, strict=True):
        assert (filled(*runs, mask.size) == mask.T.ravel()).all()


def test_packed_counts_of_a_large_image_are_unpacked() -> None:
    random = np.random.default_rng(0)
    mask = np.asfortranarray((random.random((3000, 2000)) > 0.9999).astype(np.uint8))
    packed = coco.encode(mask)["counts"]
    starts, lengths = runs_of_counts(unpack_counts(packed, "mask"), mask.size, "mask")
    assert (filled(starts, lengths, mask.size) == mask.T.ravel()).all()


@given(bits, st.integers(-5, 30), st.integers(-5, 30), st.integers(1, 50), st.integers(1, 50))
def test_a_cvat_mask_lands_where_its_box_says_and_is_cut_at_the_edges(
    mask: NDArray[np.bool_], left: int, top: int, height: int, width: int
) -> None:
    record = ("mask", cvat_attributes(Drawn("mask", "car", mask, left=left, top=top)))
    (shape,) = parse_shape(record, "mask")
    flat = filled(*shape_runs([shape], (height, width), "mask")[0], height * width)
    expected = np.zeros((height, width), np.bool_)
    for y, x in np.argwhere(mask):
        if 0 <= y + top < height and 0 <= x + left < width:
            expected[y + top, x + left] = True
    assert (expected == flat.reshape(width, height).T).all()


def test_run_lengths_that_do_not_add_up_are_refused() -> None:
    shape = Shape("mask", "car", np.array([0, 0, 4, 4, 3, 5, 7], np.float64))
    with pytest.raises(
        MaskError,
        match=r"a.png, mask 'car' at x 0..3, y 0..3: run lengths that sum to 15, expected 16",
    ):
        shape_runs([shape], (10, 10), "a.png")


@pytest.mark.parametrize("kind", ["mask", "rle"])
def test_a_run_that_is_no_64_bit_integer_is_refused(kind: str) -> None:
    shape = Shape(kind, "car", np.array([10, 10, 4, 4, 1e300], np.float64))
    with pytest.raises(MaskError, match="a run beyond all images"):
        shape_runs([shape], (10, 10), "a.png")


def test_a_mask_whose_box_dwarfs_its_image_is_refused_before_it_takes_memory() -> None:
    shape = Shape("mask", "car", np.array([0, 0, 40000, 25000, 1e9], np.float64))
    message = (
        r"a.png, mask 'car' at x 0..39999, y 0..24999: a mask with a box of 40000 x 25000, "
        r"expected a box within the image's 20 x 10"
    )
    tracemalloc.start()
    with pytest.raises(MaskError, match=message):
        shape_runs([shape], (10, 20), "a.png")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("packed", [b"\x00\xff", b"ooooooooooooooooo1", b"o", b"zz~"])
def test_packed_counts_that_are_none_are_refused(packed: bytes) -> None:
    with pytest.raises(MaskError, match=r"packed run lengths|more than 60 bits"):
        unpack_counts(packed, "a.png")
