from pathlib import Path

import numpy as np
import pytest
from builders import ROAD, scenes, write_dataset
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from segmentor.contract import InputSpec, ModelContract
from segmentor.thresholds import STEPS, choose_threshold, count_levels, sweep


def some_pixels(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.random((1, count)) < 0.4
    probability = (0.5 * generator.random((1, count)) + 0.4 * truth).astype(np.float32)
    return probability, truth


@given(seed=st.integers(0, 10_000), k=st.integers(1, STEPS - 1))
def test_counts_at_a_threshold_are_those_of_comparing_each_pixel(seed: int, k: int) -> None:
    probability, truth = some_pixels(seed)
    curve = sweep(count_levels(probability, truth, np.ones_like(truth)))
    predicted = probability.astype(np.float64) > k / STEPS
    hits = np.count_nonzero(predicted & truth)
    assert curve.threshold[k - 1] == k / STEPS
    assert curve.iou[k - 1] == pytest.approx(hits / np.count_nonzero(predicted | truth))
    assert curve.recall[k - 1] == pytest.approx(hits / truth.sum())
    assert curve.false_positive_rate[k - 1] == pytest.approx(
        np.count_nonzero(predicted & ~truth) / np.count_nonzero(~truth)
    )


def test_the_bands_of_a_large_image_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    probability, truth = (values.reshape(20, 20) for values in some_pixels(3))
    valid = np.random.default_rng(0).random((20, 20)) < 0.8
    whole = count_levels(probability, truth, valid)
    monkeypatch.setattr("segmentor.thresholds.BAND", 70)  # three rows, the last band two
    assert np.array_equal(count_levels(probability, truth, valid), whole)


def test_counts_of_images_add_up_to_those_of_all_pixels() -> None:
    probability, truth = some_pixels(7)
    valid = np.ones_like(truth)
    halves = [
        count_levels(probability[:, part], truth[:, part], valid[:, part])
        for part in (slice(0, 150), slice(150, None))
    ]
    assert np.array_equal(sum(halves), count_levels(probability, truth, valid))


def test_pixels_without_ground_truth_do_not_count() -> None:
    probability, truth = some_pixels(7)
    valid = np.zeros_like(truth)
    valid[:, :5] = True
    assert count_levels(probability, truth, valid).sum() == 5


def test_average_precision_agrees_with_scikit_learn() -> None:
    probability, truth = some_pixels(2, 5000)
    curve = sweep(count_levels(probability, truth, np.ones_like(truth)))
    expected = average_precision_score(truth.ravel(), probability.ravel())
    assert curve.average_precision() == pytest.approx(expected, abs=2e-3)


def test_a_perfect_model_has_average_precision_one_and_a_threshold_in_the_middle_of_the_gap() -> (
    None
):
    truth = np.array([[True, True, False, False]])
    probability = np.array([[0.9, 0.9, 0.1, 0.1]], np.float32)
    curve = sweep(count_levels(probability, truth, np.ones_like(truth)))
    assert curve.average_precision() == pytest.approx(1)
    assert curve.interpolated_precision() == pytest.approx(1)
    assert curve.threshold[curve.best()] == pytest.approx(0.5, abs=0.01)


def test_without_foreground_the_threshold_is_a_half() -> None:
    truth = np.zeros((1, 4), bool)
    curve = sweep(count_levels(np.full((1, 4), 0.2, np.float32), truth, ~truth))
    assert curve.threshold[curve.best()] == 0.5
    assert np.isnan(curve.interpolated_precision())


def test_choose_threshold_finds_where_a_timid_model_is_right(tmp_path: Path) -> None:
    size = (64, 96)
    dataset = write_dataset(tmp_path / "val", scenes(3, size=size))
    contract = ModelContract(ROAD, InputSpec(size))
    masks = iter([dataset.mask(sample) for sample in dataset.samples])

    def timid(images: np.ndarray) -> np.ndarray:
        return np.where(next(masks) == 1, 0.3, 0.1).astype(np.float32)[None, None]

    chosen = choose_threshold(timid, contract, dataset)
    assert 0.1 <= chosen.threshold < 0.3
    assert chosen.iou > chosen.iou_at_half
