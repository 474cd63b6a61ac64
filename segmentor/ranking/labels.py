"""Regions of a label that a model contradicts: missed objects, wrong classes, shifted borders."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.label_map import IGNORE_INDEX

MISSED, WRONG_CLASS, BORDER = "missed object", "wrong class", "shifted border"
# A region that makes up so much of an object stands for the whole object.
_MOST = 0.5
# Smaller regions are the model's own borders.
LEAST_PIXELS = 64
# The loss of a pixel that the model rules out altogether: -log of it.
_LEAST_PROBABILITY = 1e-6

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Region:
    """A connected region where the label says one class and the model another.

    Attributes:
        kind: MISSED: most of an object that the model sees is not in the label. WRONG_CLASS: most
            of a labelled object has another class for the model. BORDER: both see both classes,
            and draw the border between them elsewhere.
        labelled: Class index of the label.
        predicted: Class index of the model.
        box: (top, left, bottom, right), the last two exclusive.
        pixels: Its area.
        score: How wrong the label is for the model: its mean log loss over the pixels, times the
            square root of the region's thickness, because no border is drawn to the pixel.
    """

    kind: str
    labelled: int
    predicted: int
    box: Box
    pixels: int
    score: float


def contradicted_regions(
    label: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    probability: NDArray[np.float32],
    least_pixels: int = LEAST_PIXELS,
) -> list[Region]:
    """Compare a label with a prediction, region by region.

    Args:
        label: uint8 (H, W), class indices or ignore_index, which is left out.
        mask: uint8 (H, W), the model's class indices.
        probability: float32 (C, H, W), of each class, or of class 1 alone if C is 1.
        least_pixels: Smaller regions are left out.
    """
    differs = (label != mask) & (label != IGNORE_INDEX)
    pairs, counts = np.unique(
        label[differs].astype(np.int32) << 8 | mask[differs], return_counts=True
    )
    labelled_objects, predicted_objects = _Objects(label), _Objects(mask)
    regions = []
    for pair in pairs[counts >= least_pixels].tolist():
        labelled, predicted = pair >> 8, pair & 0xFF
        where = (label == labelled) & (mask == predicted)
        for pixels, box, inside in _components(where, least_pixels):
            row, column = (int(value) for value in np.argwhere(inside)[0] + box[:2])
            kind = BORDER
            if pixels >= _MOST * labelled_objects.area(labelled, row, column):
                kind = WRONG_CLASS
            elif pixels >= _MOST * predicted_objects.area(predicted, row, column):
                kind = MISSED
            loss = _mean_loss(probability, labelled, box, inside)
            score = loss * np.sqrt(_thickness(inside))
            regions.append(Region(kind, labelled, predicted, box, pixels, float(score)))
    return regions


class _Objects:
    """The connected components of a mask, class by class as they are asked for."""

    def __init__(self, mask: NDArray[np.uint8]) -> None:
        self._mask = mask
        self._found: dict[int, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}

    def area(self, index: int, row: int, column: int) -> int:
        """Return the area of the component of a class that holds a pixel."""
        if index not in self._found:
            where = (self._mask == index).view(np.uint8)
            _, labels, stats, _ = cv2.connectedComponentsWithStats(where, connectivity=8)
            self._found[index] = (labels, stats[:, cv2.CC_STAT_AREA])
        labels, areas = self._found[index]
        return int(areas[labels[row, column]])


def _components(
    where: NDArray[np.bool_], least_pixels: int
) -> Iterator[tuple[int, Box, NDArray[np.bool_]]]:
    """Yield area, box and bitmap inside the box of each 8-connected component that is large."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(where.view(np.uint8), connectivity=8)
    for number in range(1, len(stats)):
        left, top, width, height, area = (int(value) for value in stats[number])
        if area >= least_pixels:
            box = (top, left, top + height, left + width)
            yield area, box, labels[top : box[2], left : box[3]] == number


def _mean_loss(
    probability: NDArray[np.float32], labelled: int, box: Box, inside: NDArray[np.bool_]
) -> float:
    """Return the mean of -log P(labelled class) over a region."""
    plane = probability[0 if len(probability) == 1 else labelled]
    values = plane[box[0] : box[2], box[1] : box[3]][inside].astype(np.float64)
    if len(probability) == 1 and labelled == 0:
        values = 1 - values
    return float(-np.log(values.clip(_LEAST_PROBABILITY)).mean())


def _thickness(inside: NDArray[np.bool_]) -> float:
    """Return the distance of a region's innermost pixel from its edge, in pixels."""
    padded = np.pad(inside.view(np.uint8), 1)
    return float(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())
