"""The threshold sweep of a binary model: count pixels by probability first, reduce later.

Train uses it to choose the contract's threshold on val, evaluate to draw its curves on test. A
pixel is foreground where probability > threshold, as in `segmentor.inference.mask_at`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.inference import Forward, decode_for, probability_at
from segmentor.label_map import IGNORE_INDEX
from segmentor.progress import track

# Probabilities are counted in steps of 1/1000, so thresholds within a step are equal.
STEPS = 1000
# Pixels counted at a time: a whole photograph in float64 would take gigabytes.
BAND = 1 << 22
# Source: the KITTI road benchmark, after PASCAL VOC 2007: precision at 11 recalls.
RECALL_POINTS = 11


def count_levels(
    probability: NDArray[np.float32], truth: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Count valid pixels by probability level; the counts of images add up.

    Level k holds the pixels with (k - 1) / STEPS < probability <= k / STEPS.

    Args:
        probability: float32 (H, W) of class 1.
        truth: bool (H, W), where the truth is class 1.
        valid: bool (H, W), where there is ground truth.

    Returns:
        int64 (2, STEPS + 1): pixels whose truth is not class 1, and is class 1.
    """
    counts = np.zeros(2 * (STEPS + 1), np.int64)
    rows = max(1, BAND // probability.shape[1])
    for top in range(0, len(probability), rows):
        band = slice(top, top + rows)
        known = valid[band]
        levels = np.ceil(probability[band][known].astype(np.float64) * STEPS).astype(np.int64)
        counts += np.bincount(levels + (STEPS + 1) * truth[band][known], minlength=len(counts))
    return counts.reshape(2, STEPS + 1)


@dataclass(frozen=True)
class ThresholdSweep:
    """Score at the thresholds 1/STEPS .. (STEPS-1)/STEPS, float64 arrays of that length.

    Precision is 1 where nothing is predicted, recall NaN where the truth holds no foreground.
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    false_positive_rate: NDArray[np.float64]
    iou: NDArray[np.float64]
    f1: NDArray[np.float64]

    def best(self) -> int:
        """Return the position of the highest IoU, which is also that of the highest F1.

        On a plateau the middle, which is safest on other data; 0.5 if there is no foreground.
        """
        if np.isnan(self.iou).all():
            return len(self.iou) // 2
        top = np.flatnonzero(self.iou == np.nanmax(self.iou))
        return int(top[len(top) // 2])

    def average_precision(self) -> float:
        """Return the area under the precision-recall curve as a sum of steps, like scikit-learn."""
        recall = np.concatenate([[0.0], self.recall[::-1]])
        return float(np.sum(np.diff(recall) * self.precision[::-1]))

    def interpolated_precision(self) -> float:
        """Return the KITTI road benchmark's AP: the mean of the best precision at 11 recalls."""
        if np.isnan(self.recall).any():
            return float("nan")
        points = np.linspace(0, 1, RECALL_POINTS)
        reached = [self.precision[self.recall >= point] for point in points]
        return float(np.mean([values.max() if values.size else 0.0 for values in reached]))


def sweep(levels: NDArray[np.int64]) -> ThresholdSweep:
    """Reduce the counts of `count_levels` (2, STEPS + 1) to scores at every threshold."""
    # Predicted foreground at threshold k / STEPS: the levels above k.
    above = levels[:, ::-1].cumsum(axis=1)[:, ::-1]  # (2, STEPS + 1)
    false_positive, true_positive = above[:, 2:].astype(np.float64)  # k = 1 .. STEPS - 1
    negatives, positives = (float(value) for value in levels.sum(axis=1))
    predicted = true_positive + false_positive
    missing = np.full_like(predicted, np.nan)
    precision = np.divide(
        true_positive, predicted, out=np.ones_like(predicted), where=predicted > 0
    )
    return ThresholdSweep(
        threshold=np.arange(1, STEPS) / STEPS,
        precision=precision,
        recall=true_positive / positives if positives else missing,
        false_positive_rate=false_positive / negatives if negatives else missing,
        iou=true_positive / (positives + false_positive) if positives else missing,
        f1=2 * true_positive / (positives + predicted) if positives else missing,
    )


@dataclass(frozen=True)
class ChosenThreshold:
    """A threshold, and the data-set IoU at it and at 0.5; NaN without foreground to judge by."""

    threshold: float
    iou: float
    iou_at_half: float


def choose_threshold(
    forward: Forward, contract: ModelContract, dataset: Dataset
) -> ChosenThreshold:
    """Choose the threshold of the highest data-set IoU; 0.5 without any foreground to judge by.

    Call it with val, never with test: a threshold looks too good on the set it was chosen on.

    Args:
        forward: The binary model.
        contract: Its contract; the threshold in it does not matter.
        dataset: What to choose on.

    Raises:
        ImageError: an image cannot be decoded.
    """
    levels = np.zeros((2, STEPS + 1), np.int64)
    for sample in track(dataset.read_ahead(dataset), "choose threshold", len(dataset)):
        truth = dataset.mask(sample)
        pixels, _ = decode_for(contract, dataset.image_content(sample), sample.id)
        plane = probability_at(forward(pixels[None])[0], sample.size)[0]
        levels += count_levels(plane, truth == 1, truth != IGNORE_INDEX)
    curve = sweep(levels)
    best, half = curve.best(), STEPS // 2 - 1
    return ChosenThreshold(
        float(curve.threshold[best]), float(curve.iou[best]), float(curve.iou[half])
    )
