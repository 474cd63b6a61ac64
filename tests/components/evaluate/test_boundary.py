import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluate.boundary import boundary, hausdorff, score_boundaries


def disc(y: int, x: int, radius: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    return cv2.circle(np.zeros(size, np.uint8), (x, y), radius, 1, -1).astype(bool)


NOTHING = np.zeros((60, 80), bool)


# MONAI calls itself in a way that it deprecates.
@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
@settings(max_examples=20, deadline=None)
@given(y=st.integers(20, 40), x=st.integers(20, 60), radius=st.integers(3, 18))
def test_hd95_equals_that_of_monai(y: int, x: int, radius: int) -> None:
    from monai.metrics import compute_hausdorff_distance

    first, second = disc(30, 40, 12), disc(y, x, radius)
    tensors = [torch.from_numpy(mask[None, None]).float() for mask in (first, second)]
    expected = float(compute_hausdorff_distance(*tensors, include_background=True, percentile=95))
    assert hausdorff(first, second, NOTHING) == pytest.approx(expected, abs=1e-3)


def test_equal_masks_have_distance_zero_and_boundary_iou_one() -> None:
    mask = disc(30, 40, 12).astype(np.uint8)
    scores = score_boundaries(mask, mask, 2)
    assert scores.hd95.tolist() == [0, 0]
    assert np.array_equal(scores.intersection, scores.union)


def test_the_rim_of_an_ignored_ring_is_no_edge_that_was_met() -> None:
    """VOC draws such rings around objects: the edge itself has no ground truth."""
    truth = disc(30, 40, 20).astype(np.uint8)
    prediction = disc(30, 42, 20).astype(np.uint8)
    clean = score_boundaries(truth, prediction, 2)
    assert clean.intersection[1] / clean.union[1] < 0.5
    truth[disc(30, 40, 24) & ~disc(30, 40, 16)] = 255
    ring = score_boundaries(truth, prediction, 2)
    assert ring.union[1] == 0
    assert np.isnan(ring.hd95[1])


def test_scattered_ignored_pixels_hardly_change_how_edges_are_met() -> None:
    truth, prediction = disc(30, 40, 20).astype(np.uint8), disc(30, 44, 20).astype(np.uint8)
    clean = score_boundaries(truth, prediction, 2)
    truth[np.random.default_rng(0).random(truth.shape) < 0.15] = 255
    holes = score_boundaries(truth, prediction, 2)
    iou = [scores.intersection[1] / scores.union[1] for scores in (clean, holes)]
    assert iou[1] == pytest.approx(iou[0], abs=0.05)
    assert holes.hd95[1] == pytest.approx(clean.hd95[1], abs=0.5)


def test_a_shifted_mask_is_as_far_as_it_was_shifted() -> None:
    assert hausdorff(disc(30, 30, 10), disc(30, 35, 10), NOTHING, percentile=100) == 5


def test_boundary_iou_is_stricter_than_iou_on_a_large_object() -> None:
    truth, prediction = disc(30, 40, 25), disc(30, 40, 23)
    iou = np.count_nonzero(truth & prediction) / np.count_nonzero(truth | prediction)
    scores = score_boundaries(truth.astype(np.uint8), prediction.astype(np.uint8), 2)
    assert scores.intersection[1] / scores.union[1] < iou - 0.3


def test_a_boundary_is_as_wide_as_asked() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    assert np.count_nonzero(boundary(mask, 2, ~mask & False)) == 100 - 36


def test_the_distance_to_a_class_that_one_side_lacks_is_undefined() -> None:
    truth = np.zeros((10, 10), np.uint8)
    scores = score_boundaries(truth, disc(5, 5, 2, (10, 10)).astype(np.uint8), 3)
    assert np.isnan(scores.hd95[1:]).all()
    assert scores.union[1] > 0
    assert scores.union[2] == 0


def test_ignored_pixels_have_no_say() -> None:
    truth = np.ones((20, 20), np.uint8)
    truth[:, 10:] = 255
    prediction = np.ones((20, 20), np.uint8)
    prediction[5, 15] = 0
    scores = score_boundaries(truth, prediction, 2)
    assert scores.union[0] == 0
    assert scores.intersection[1] == scores.union[1]
