"""The scores of one image: counts by class, and the two columns of the per-image table."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from components.evaluate.boundary import BoundaryScores, score_boundaries
from segmentor.contract import ModelContract
from segmentor.inference import probability_at
from segmentor.label_map import IGNORE_INDEX
from segmentor.metrics import class_scores, confusion_matrix, soft_dice_loss


@dataclass(frozen=True)
class ImageScores:
    """What is kept of an image: small, whatever the image's size.

    `dice_loss` and `iou_score` are means over the classes that count (see `score_image`), NaN when
    the image has no ground truth at all. `brightness` is the mean grey value, 0..1.
    """

    id: str
    group: str
    size: tuple[int, int]
    brightness: float
    dice_loss: float
    iou_score: float
    confusion: NDArray[np.int64]
    boundary: BoundaryScores

    @property
    def counts(self) -> NDArray[np.int64]:
        """True positives, false positives, false negatives of each class: int64 (K, 3)."""
        hits = np.diag(self.confusion)
        return np.stack(
            [hits, self.confusion.sum(axis=0) - hits, self.confusion.sum(axis=1) - hits], axis=1
        )

    @property
    def foreground_share(self) -> float:
        """Share of the pixels with ground truth that are not of the first class."""
        return float(self.confusion[1:].sum() / max(1, self.valid_pixels))

    @property
    def valid_pixels(self) -> int:
        """Pixels with ground truth."""
        return int(self.confusion.sum())

    def has_truth(self) -> bool:
        """True if a class other than the first (a binary model's background) is there."""
        return bool(self.confusion[1:].any())


def score_image(
    sample_id: str,
    group: str,
    pixels: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    probability: NDArray[np.float32],
    contract: ModelContract,
) -> ImageScores:
    """Score one image at its source size.

    Binary: both columns are those of class 1. An image without class 1 in truth has IoU 1 if none
    is predicted, else 0 (what smp.utils.metrics.IoU gave); in the first case its Dice loss is NaN:
    the probabilities of all pixels add up, so that a perfect image would have a loss near 1.
    Multiclass: both are means over the classes in the truth of this image.

    Args:
        sample_id: Name of the sample.
        group: Its group.
        pixels: RGB uint8 (H', W', 3), as decoded.
        truth: uint8 (H, W).
        prediction: uint8 (H, W), the mask that `mask_at` takes from the probability.
        probability: float32 (C, h, w) of this image.
        contract: Of the model.
    """
    classes = len(contract.label_map)
    confusion = confusion_matrix(truth, prediction, classes)
    return ImageScores(
        id=sample_id,
        group=group,
        size=truth.shape,
        brightness=float(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).mean() / 255),
        dice_loss=float("nan")
        if contract.is_binary and not confusion[:, 1].any() and not confusion[1].any()
        else _dice_loss(probability, truth, contract.is_binary),
        iou_score=_iou_score(confusion, contract.is_binary),
        confusion=confusion,
        boundary=score_boundaries(truth, prediction, classes),
    )


def _iou_score(confusion: NDArray[np.int64], is_binary: bool) -> float:
    if not confusion.any():
        return float("nan")
    scores = class_scores(confusion)
    if not is_binary:
        return scores.mean_iou()
    if not scores.support[1]:
        return 0.0 if scores.false_pixels[1] else 1.0
    return float(scores.iou[1])


def _dice_loss(
    probability: NDArray[np.float32], truth: NDArray[np.uint8], is_binary: bool
) -> float:
    valid = truth != IGNORE_INDEX
    if not valid.any():
        return float("nan")
    counted = [1] if is_binary else [int(index) for index in np.unique(truth[valid])]
    losses = []
    for index in counted:
        channel = 0 if is_binary else index
        plane = probability_at(probability[channel : channel + 1], truth.shape)[0]
        losses.append(soft_dice_loss(plane, truth == index, valid))
    return float(np.mean(losses))
