"""Bootstrap intervals: how much a figure would move, had other groups been photographed.

Groups are drawn, not pixels nor images: the pixels of an image, and the images of a drive, say the
same thing many times over. Source: El Jurdi, Varoquaux, Colliot, arXiv 2307.10926.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95
# Fewer groups give an interval that is too narrow to be trusted.
FEW_GROUPS = 10

# (draws, ...) sums over drawn groups -> (draws,) figures.
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def sum_by_group(groups: Sequence[str], values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Adds the rows of `values` (N, ...) that share a group: float64 (G, ...), groups sorted."""
    names, position = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, position, values.astype(np.float64))
    return sums


def resample(sums: NDArray[np.float64], seed: int = 0, draws: int = DRAWS) -> NDArray[np.float64]:
    """Draws as many groups as there are, with replacement: sums (G, ...) -> (draws, ...)."""
    count = len(sums)
    weights = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=draws)
    return np.tensordot(weights.astype(np.float64), sums, axes=1)


def interval(sums: NDArray[np.float64], statistic: Statistic, seed: int = 0) -> tuple[float, float]:
    """The percentile interval of a figure at `LEVEL`; NaN when one group cannot give any."""
    if len(sums) < 2:
        return float("nan"), float("nan")
    return _percentiles(statistic(resample(sums, seed)))


def class_intervals(sums: NDArray[np.float64], seed: int = 0) -> list[tuple[float, float]]:
    """The interval of each class's IoU, from counts (G, K, 3) by group."""
    if len(sums) < 2:
        return [(float("nan"), float("nan"))] * sums.shape[1]
    return [_percentiles(column) for column in iou_of_counts(resample(sums, seed)).T]


def _percentiles(figures: NDArray[np.float64]) -> tuple[float, float]:
    if np.isnan(figures).all():
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(figures, [tail, 1 - tail])
    return float(low), float(high)


def iou_of_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU per class of (..., K, 3) true positives, false positives, false negatives: (..., K).

    NaN where a class has no true pixels, as `segmentor.metrics` has it: also in a draw that holds
    none of the groups in which the class occurs.
    """
    support = counts[..., 0] + counts[..., 2]
    return _divide(counts[..., 0], np.where(support > 0, counts.sum(axis=-1), 0))


def iou_statistic(is_binary: bool) -> Statistic:
    """The one IoU of a model (see `segmentor.metrics.dataset_iou`) from counts (draws, K, 3)."""

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        iou = iou_of_counts(counts)
        if is_binary:
            return np.asarray(iou[:, 1])
        present = ~np.isnan(iou)
        total = np.where(present, iou, 0).sum(axis=1)
        number = present.sum(axis=1)
        return _divide(total, number.astype(np.float64))

    return statistic


def mean_statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of (draws, 2) sums of a value and of the number of images that have one."""
    return _divide(sums[:, 0], sums[:, 1])


def with_numbers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (N,), NaN where there is none, as (N, 2) rows for `mean_statistic`."""
    known = ~np.isnan(values)
    return np.stack([np.where(known, values, 0), known.astype(np.float64)], axis=1)


def _divide(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(bottom.shape, np.nan)
    np.divide(top, bottom, out=ratio, where=bottom > 0)
    return ratio
