import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentor.contract import InputSpec, ModelContract
from segmentor.inference import mask_at, mask_of
from segmentor.label_map import LabelMap
from segmentor.tiling import (
    OVERLAP,
    TILE,
    _spans,
    _weights,
    is_tiled,
    probability_blocks,
    tile_side,
    tiled,
)

NATIVE = InputSpec((64, 96), size_policy="native")
CONTRACT = ModelContract(LabelMap.of(["background", "road"]), NATIVE)


def pixelwise(images):
    """A Forward that looks at one pixel at a time: tiles must not change its result."""
    grey = images.astype(np.float32).mean(-1) / 255
    return np.stack([grey], axis=1)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@given(st.integers(1, 20_000), st.sampled_from([8, 16, 32, 64]))
def test_the_weights_of_overlapping_spans_add_up_to_one(length, stride):
    total = np.zeros(length, np.float32)
    for start, end in _spans(length, stride):
        assert 0 < end - start <= TILE
        total[start:end] += _weights(start, end, length)
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("size", [(1025, 2400), (2400, 1025), (2000, 3000), (900, 3100)])
def test_tiles_do_not_change_what_looks_at_one_pixel(size):
    pixels = noise(*size)
    assert is_tiled(CONTRACT, size)
    expected = pixelwise(pixels[None])
    np.testing.assert_allclose(tiled(pixelwise, CONTRACT)(pixels[None]), expected, atol=1e-6)


def test_blocks_cover_the_image_once():
    size = (1700, 2900)
    covered = np.zeros(size, np.uint8)
    for top, left, block in probability_blocks(pixelwise, CONTRACT, noise(*size)):
        covered[top : top + block.shape[1], left : left + block.shape[2]] += 1
    assert (covered == 1).all()


def test_small_images_and_resize_models_run_in_one_pass():
    calls = []

    def counting(images):
        calls.append(images.shape)
        return pixelwise(images)

    pixels = noise(1000, 1000)
    mask = mask_of(counting, CONTRACT, pixels, (1000, 1000))
    assert calls == [(1, 1000, 1000, 3)]
    np.testing.assert_array_equal(mask, mask_at(pixelwise(pixels[None])[0], CONTRACT, (1000, 1000)))
    resize = ModelContract(CONTRACT.label_map, InputSpec((64, 96)))
    assert not is_tiled(resize, (12_000, 9_000))


def test_two_tiles_that_disagree_leave_no_step():
    seen = []

    def disagreeing(images):
        seen.append(images.shape)
        return np.full((1, 1, *images.shape[1:3]), float(len(seen) % 2), np.float32)

    whole = tiled(disagreeing, CONTRACT)(noise(1000, 2500)[None])[0, 0]
    assert len(seen) > 1
    steps = np.abs(np.diff(whole, axis=1)).max()
    assert steps <= 1.5 / OVERLAP


def test_no_tile_is_larger_than_the_bound():
    largest = []

    def watching(images):
        largest.append(max(images.shape[1:3]))
        return pixelwise(images)

    mask_of(watching, CONTRACT, noise(3000, 4000), (3000, 4000))
    assert max(largest) <= TILE


def test_an_image_of_few_rows_counts_as_the_network_pads_it():
    assert is_tiled(CONTRACT, (1, 100_000))
    assert is_tiled(CONTRACT, (100_000, 1))
    assert not is_tiled(CONTRACT, (32, 32_000))


@pytest.mark.parametrize("classes", [2, 16, 17, 200, 254])
def test_tiles_of_many_classes_take_no_more_memory(classes):
    names = [f"class {index}" for index in range(classes)]
    contract = ModelContract(LabelMap.of(names), NATIVE)
    side = tile_side(contract)
    assert side % NATIVE.stride == 0
    assert side >= 2 * OVERLAP
    assert side == TILE if classes <= 16 else side**2 * classes <= TILE**2 * 17
    for start, end in _spans(5000, NATIVE.stride, side):
        assert end - start <= side
    pixels = noise(900, 1000)
    expected = pixelwise(pixels[None])
    np.testing.assert_allclose(tiled(pixelwise, contract)(pixels[None]), expected, atol=1e-6)
