"""Calibration: is a model that says 80 % right in 80 of 100 pixels?"""

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.inference import probability_at
from segmentor.label_map import IGNORE_INDEX

BINS = 15


def count_confidence(
    probability: NDArray[np.float32],
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    contract: ModelContract,
) -> NDArray[np.float64]:
    """Count valid pixels by confidence; the counts of images add up.

    Binary: the confidence is the probability of class 1, and right means that it is class 1.
    Multiclass: the highest probability, and right means that its class is true.

    Args:
        probability: float32 (C, h, w) of one image.
        truth: uint8 (H, W).
        prediction: uint8 (H, W).
        contract: The contract of the model.

    Returns:
        float64 (3, BINS): pixels, the sum of their confidence, and how many are right.
    """
    valid = truth != IGNORE_INDEX
    best = probability_at(probability[:1], truth.shape)[0]
    for index in range(1, len(probability)):
        np.maximum(best, probability_at(probability[index : index + 1], truth.shape)[0], out=best)
    confidence = best[valid].astype(np.float64)
    right = (truth == 1 if contract.is_binary else truth == prediction)[valid]
    position = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return np.stack(
        [
            np.bincount(position, minlength=BINS).astype(np.float64),
            np.bincount(position, weights=confidence, minlength=BINS),
            np.bincount(position, weights=right.astype(np.float64), minlength=BINS),
        ]
    )


def reliability(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean confidence and share of right pixels of each bin; NaN for empty bins."""
    filled = counts[0] > 0
    confidence, right = (
        np.divide(row, counts[0], out=np.full(BINS, np.nan), where=filled) for row in counts[1:]
    )
    return confidence, right


def expected_calibration_error(counts: NDArray[np.float64]) -> float:
    """Return the ECE, the mean gap between confidence and truth over all pixels; NaN without any.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    total = counts[0].sum()
    return float(np.abs(counts[1] - counts[2]).sum() / total) if total else float("nan")
