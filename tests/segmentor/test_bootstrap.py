import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentor.bootstrap import (
    interval,
    iou_of_counts,
    iou_statistic,
    mean_statistic,
    sum_by_group,
    with_numbers,
)
from segmentor.metrics import dataset_iou


def image_counts(seed: int, images: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 100, (images, 2, 3))


def test_sums_by_group_lose_nothing() -> None:
    counts = image_counts(0, 9)
    sums = sum_by_group(list("abcabcabc"), counts)
    assert np.array_equal(sums[1], counts[[1, 4, 7]].sum(axis=0))
    assert np.array_equal(sums.sum(axis=0), counts.sum(axis=0))


def test_the_interval_holds_the_figure_and_narrows_with_more_groups() -> None:
    widths = []
    for groups in (10, 1000):
        sums = image_counts(1, groups).astype(float)
        low, high = interval(sums, iou_statistic(is_binary=True))
        assert low < iou_of_counts(sums.sum(axis=0))[1] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(3).normal(5, 1, 400)
    sums = sum_by_group([str(i) for i in range(400)], with_numbers(values))
    half = 1.96 * values.std() / np.sqrt(400)
    low, high = interval(sums, mean_statistic)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_copies_of_an_image_in_its_group_do_not_narrow_the_interval() -> None:
    counts = image_counts(4, 12)
    groups = [str(i) for i in range(12)]
    once = interval(sum_by_group(groups, counts), iou_statistic(is_binary=True))
    tenfold = sum_by_group(groups * 10, np.tile(counts, (10, 1, 1)))
    assert interval(tenfold, iou_statistic(is_binary=True)) == pytest.approx(once)


def test_one_group_gives_no_interval() -> None:
    assert np.isnan(interval(image_counts(0, 1).astype(float), iou_statistic(True))).all()


def test_values_that_do_not_exist_are_left_out_of_a_mean() -> None:
    sums = sum_by_group(list("abc"), with_numbers(np.array([1.0, np.nan, 3.0])))
    assert mean_statistic(sums.sum(axis=0)[None])[0] == 2


@pytest.mark.parametrize("false_pixels", [0, 7])
def test_a_class_without_truth_is_left_out_of_the_mean_over_classes(false_pixels: int) -> None:
    counts = np.array([[[1.0, 0, 1], [0, false_pixels, 0]]])
    assert iou_statistic(is_binary=False)(counts)[0] == 0.5
    assert np.isnan(iou_statistic(is_binary=True)(counts)[0])


@given(seed=st.integers(0, 1000))
def test_the_statistic_of_the_bootstrap_is_the_figure_of_the_set(seed: int) -> None:
    generator = np.random.default_rng(seed)
    confusion = generator.integers(0, 50, (4, 4)) * (generator.random((4, 1)) < 0.7)
    hits = np.diag(confusion)
    counts = np.stack([hits, confusion.sum(axis=0) - hits, confusion.sum(axis=1) - hits], axis=1)
    drawn = iou_statistic(is_binary=False)(counts[None].astype(np.float64))[0]
    assert drawn == pytest.approx(dataset_iou(confusion, is_binary=False), nan_ok=True)
