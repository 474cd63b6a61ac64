"""Segmentation metrics from counts: count first (a confusion matrix), reduce later.

Data-set values add the counts of all images before they divide, so that they do not depend on the
batch size; per-image values divide for each image. Both are named wherever they are shown.

A class is measured only if it has true pixels: without any, its score would say nothing about the
model (docs/decisions/0020-classes-without-true-pixels.md). Its false pixels still count, as misses
of the classes that they cover.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentor.label_map import IGNORE_INDEX


def confusion_matrix(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count pixels: int64 (K, K), rows truth, columns prediction.

    Args:
        truth: uint8 (H, W), class indices or ignore_index, which is left out.
        prediction: uint8 (H, W), class indices.
        classes: K.
    """
    valid = truth != IGNORE_INDEX
    pairs = truth[valid].astype(np.int64) * classes + prediction[valid]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class ClassScores:
    """Score per class, float64 (K,); NaN where a class has no true pixels.

    IoU = TP / (TP + FP + FN), Dice = 2 TP / (2 TP + FP + FN), precision = TP / (TP + FP) (NaN where
    nothing is predicted too), recall = TP / (TP + FN). `support` counts the true pixels,
    `false_pixels` those predicted where another class is true (FP): int64 (K,).
    """

    iou: NDArray[np.float64]
    dice: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    support: NDArray[np.int64]
    false_pixels: NDArray[np.int64]

    def mean_iou(self) -> float:
        """Return the mean over the classes with true pixels; NaN if none has any."""
        return _mean(self.iou)

    def mean_dice(self) -> float:
        """Return the mean over the classes with true pixels; NaN if none has any."""
        return _mean(self.dice)


def class_scores(confusion: NDArray[np.int64]) -> ClassScores:
    """Reduce a confusion matrix (K, K) to scores per class."""
    true_positive = np.diag(confusion).astype(np.float64)
    support = confusion.sum(axis=1)
    predicted = confusion.sum(axis=0)
    has_truth = support > 0
    return ClassScores(
        iou=_ratio(true_positive, support + predicted - true_positive, has_truth),
        dice=_ratio(2 * true_positive, support + predicted, has_truth),
        precision=_ratio(true_positive, predicted, has_truth & (predicted > 0)),
        recall=_ratio(true_positive, support, has_truth),
        support=support,
        false_pixels=predicted - np.diag(confusion),
    )


def dataset_iou(confusion: NDArray[np.int64], is_binary: bool) -> float:
    """Return the one IoU of a model on a data set, from the counts (K, K) of all its images.

    That is the IoU of class 1 for a binary model, else the mean over the classes with true pixels;
    NaN without any.
    """
    scores = class_scores(confusion)
    return float(scores.iou[1]) if is_binary else scores.mean_iou()


def soft_dice_loss(
    probability: NDArray[np.float32], truth: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> float:
    """Return the Dice loss of one class of one image on probabilities, the original's `dice_loss`.

    1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) over the valid pixels.

    Source: `smp.utils.losses.DiceLoss`, F-score with beta = 1 and eps = 1.
    """
    p = probability[valid].astype(np.float64)
    t = truth[valid]
    return float(1 - (2 * p[t].sum() + 1) / (p.sum() + t.sum() + 1))


def _ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.int64], where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=where)


def _mean(values: NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
