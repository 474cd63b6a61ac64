"""What the network's resolution leaves of small objects."""

import logging

import numpy as np
from builders import ROAD, STREET, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train.resolution import (
    _count,
    measure_resolution,
    restored,
    warn_of_lost_classes,
)
from segmentor.contract import InputSpec, ModelContract
from segmentor.inference import mask_at
from segmentor.masks import resize_mask


def dots(side: int, count: int = 20, seed: int = 0) -> np.ndarray:
    """Squares on a grid of 40 pixels, so that they never touch."""
    mask = np.zeros((200, 200), np.uint8)
    places = np.random.default_rng(seed).permutation(25)[:count]
    for place in places:
        top, left = 40 * (place // 5) + place % 7, 40 * (place % 5) + place % 3
        mask[top : top + side, left : left + side] = 1
    return mask


def dataset_of(folder, masks):
    image = np.zeros((*masks[0].shape, 3), np.uint8)
    samples = ((f"{index}", image, mask, f"{index}") for index, mask in enumerate(masks))
    return write_dataset(folder / "set", samples, ROAD)


@given(side=st.integers(1, 9), size=st.integers(8, 300), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_objects_left_are_those_that_the_mask_keeps(side, size, seed):
    mask = dots(side, 1, seed)
    small = resize_mask(mask, (size, size))
    _, left, objects, vanished = _count(mask == 1, small == 1)
    assert objects == 1
    assert left == np.count_nonzero(small)
    assert vanished == (not small.any())


def test_objects_that_vanish_are_counted_and_the_ceiling_is_named(tmp_path, caplog):
    data = dataset_of(tmp_path, [dots(2), dots(2, seed=1)])
    spec = InputSpec((32, 32))
    (road,) = measure_resolution(data, spec)
    assert (road.name, road.objects, road.pixels) == ("road", 40, 160)
    assert 20 < road.vanished <= 40
    assert road.pixels_left == 40 - road.vanished  # a pixel each is left of the others
    assert road.reachable_iou < 0.2
    assert road.is_poor
    with caplog.at_level(logging.WARNING):
        warn_of_lost_classes([road], spec.size)
    assert f"{road.vanished} of 40 objects vanish" in caplog.text
    assert "processing.size_policy=native" in caplog.text


def test_large_objects_are_no_reason_for_a_warning(tmp_path, caplog):
    (road,) = measure_resolution(dataset_of(tmp_path, [dots(30)]), InputSpec((96, 96)))
    assert road.vanished == 0
    assert not road.is_poor
    warn_of_lost_classes([road], (96, 96))
    assert not caplog.text


def test_nothing_is_lost_at_the_same_size_or_by_the_native_policy(tmp_path):
    data = dataset_of(tmp_path, [np.pad(dots(2), (0, 24))])
    (road,) = measure_resolution(data, InputSpec((224, 224)))
    assert (road.vanished, road.reachable_iou) == (0, 1.0)
    assert measure_resolution(data, InputSpec((32, 32), "native")) == []


def test_classes_that_an_image_lacks_change_nothing():
    small = np.random.default_rng(0).integers(1, 3, (12, 20)).astype(np.uint8)
    contract = ModelContract(STREET, InputSpec((32, 32)))
    probability = np.stack([small == index for index in range(3)]).astype(np.float32)
    expected = mask_at(probability, contract, (37, 91))
    assert (restored(small, (37, 91), contract) == expected).all()
