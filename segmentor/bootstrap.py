"""Bootstrap intervals: how much a figure would change with photographs of other groups.

Groups are drawn, not pixels or images, because the pixels of an image and the images of a drive
resemble one another. Source: El Jurdi, Varoquaux, Colliot, arXiv 2307.10926.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95
# With fewer groups the interval is too narrow to be trusted.
FEW_GROUPS = 10

# (draws, ...) sums over drawn groups -> (draws,) figures.
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def sum_by_group(groups: Sequence[str], values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Add the rows of `values` (N, ...) that share a group: float64 (G, ...), groups sorted."""
    names, position = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, position, values.astype(np.float64))
    return sums


def resample(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw as many groups as there are, with replacement: sums (G, ...) -> (DRAWS, ...)."""
    count = len(sums)
    weights = np.random.default_rng(0).multinomial(count, [1 / count] * count, size=DRAWS)
    return np.tensordot(weights.astype(np.float64), sums, axes=1)


def interval(sums: NDArray[np.float64], statistic: Statistic) -> tuple[float, float]:
    """Return the percentile interval of a figure at `LEVEL`; NaN for a single group."""
    if len(sums) < 2:
        return float("nan"), float("nan")
    return _percentiles(statistic(resample(sums)))


def class_intervals(sums: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the interval of each class's IoU, from counts (G, K, 3) by group."""
    if len(sums) < 2:
        return [(float("nan"), float("nan"))] * sums.shape[1]
    return [_percentiles(column) for column in iou_of_counts(resample(sums)).T]


def _percentiles(figures: NDArray[np.float64]) -> tuple[float, float]:
    if np.isnan(figures).all():
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(figures, [tail, 1 - tail])
    return float(low), float(high)


def iou_of_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return IoU per class (..., K) from true and false positives and false negatives (..., K, 3).

    NaN where a class has no true pixels, as in `segmentor.metrics`; also in a draw without any of
    the groups in which the class occurs.
    """
    support = counts[..., 0] + counts[..., 2]
    return _divide(counts[..., 0], np.where(support > 0, counts.sum(axis=-1), 0))


def iou_statistic(is_binary: bool) -> Statistic:
    """Return how the IoU of a model (see `segmentor.metrics.dataset_iou`) follows from counts."""

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
    """Return the mean from (draws, 2) sums of a value and of the number of images that have one."""
    return _divide(sums[:, 0], sums[:, 1])


def with_numbers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (N,), NaN where unknown, as (N, 2) rows for `mean_statistic`."""
    known = ~np.isnan(values)
    return np.stack([np.where(known, values, 0), known.astype(np.float64)], axis=1)


def _divide(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(bottom.shape, np.nan)
    np.divide(top, bottom, out=ratio, where=bottom > 0)
    return ratio
