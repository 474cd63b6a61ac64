"""What to label next: images that the model doubts, without many that look alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.near_duplicates import grey_picture

# Mean absolute difference of grey pictures of 16 x 16, in levels. In CamVid a quarter of the pairs
# of frames that follow one another are below it, and no pair of frames of different drives.
ALIKE = 15.0
_SIDE = 16


def margins(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far ahead of the second class the first one is: float32 (H, W), 0..1.

    Args:
        probability: float32 (C, H, W), of each class, or of class 1 alone if C is 1.
    """
    if len(probability) == 1:
        return np.asarray(np.abs(2 * probability[0] - 1), np.float32)
    first, second = probability[0].copy(), np.zeros_like(probability[0])
    for plane in probability[1:]:
        np.maximum(second, np.minimum(first, plane), out=second)
        np.maximum(first, plane, out=first)
    return np.asarray(first - second, np.float32)


def doubt(probability: NDArray[np.float32]) -> float:
    """Return how much the model doubts an image: 1 less the mean margin, 0..1."""
    return float(1 - margins(probability).mean(dtype=np.float64))


@dataclass(frozen=True)
class Look:
    """What decides whether two images would teach the same.

    `group` is the drive, patient or task; empty where it is unknown. `picture` is float32
    (16, 16), grey, its mean 0.
    """

    group: str
    picture: NDArray[np.float32]

    @classmethod
    def of(cls, image: NDArray[np.uint8], group: str) -> "Look":
        """Look at an image, RGB uint8 (H, W, 3)."""
        picture = cv2.resize(grey_picture(image), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        return cls(group, (picture - picture.mean()).astype(np.float32))


def spread(scores: Sequence[float], looks: Sequence[Look], most: int) -> list[int]:
    """Order images by score, but let those wait that resemble one that came before.

    A score is divided by 1 + n if n images before it are of its group or look like it, so that
    twenty frames of one drive do not fill the first places.

    Args:
        scores: Of each image, 0 or greater.
        looks: Of each image.
        most: After so many images the order is by score alone.

    Returns:
        Positions, the image to label first at the start.
    """
    values = np.array(scores, np.float64)
    by_score = np.argsort(-values, kind="stable").tolist()
    if not by_score:
        return []
    pictures = np.stack([look.picture for look in looks])  # (N, S, S)
    groups = np.array([look.group for look in looks], dtype=object)
    similar = np.zeros(len(looks))
    order: list[int] = []
    for _ in looks[:most]:
        chosen = int(np.argmax(values / (1 + similar)))
        order.append(chosen)
        values[chosen] = -np.inf
        is_alike = np.abs(pictures - pictures[chosen]).mean(axis=(1, 2)) < ALIKE
        similar += is_alike | ((groups == groups[chosen]) & (groups != ""))
    taken = set(order)
    return order + [position for position in by_score if position not in taken]
