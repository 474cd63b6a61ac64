"""Masks as CVAT's shapes: one for each connected component and class, and the way back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.label_map import BACKGROUND, LabelMap

# Annotators correct shapes by hand: specks and thousands of them are of no use.
LEAST_PIXELS = 64
MOST_SHAPES = 200


@dataclass(frozen=True)
class Component:
    """A connected component of one class.

    Attributes:
        class_index: Its class.
        points: CVAT's form of a mask: run lengths by rows over the tight box, zeros first, then
            left, top, right and bottom, the last two inclusive.
        pixels: Its area.
        score: Mean probability of the class over its pixels, 0..1.
    """

    class_index: int
    points: tuple[int, ...]
    pixels: int
    score: float


def labelled_classes(label_map: LabelMap) -> tuple[int, ...]:
    """Return the indices of the classes that CVAT has labels for: all but the background."""
    return tuple(index for index, name in enumerate(label_map.names) if name != BACKGROUND)


def components_of(
    mask: NDArray[np.uint8],
    probability: NDArray[np.float32],
    classes: Sequence[int],
    least_pixels: int = LEAST_PIXELS,
    most: int = MOST_SHAPES,
) -> list[Component]:
    """Divide a mask into components, 8-connected.

    Args:
        mask: uint8 (H, W), class indices.
        probability: float32 (H, W): of the class that the mask has at each pixel.
        classes: Indices of the classes to take.
        least_pixels: Smaller components are left out.
        most: Of more components the largest are taken.

    Returns:
        Components by class, then from the largest to the smallest.
    """
    found = []
    for index in classes:
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == index).view(np.uint8), connectivity=8, ltype=cv2.CV_32S
        )
        for label in range(1, len(stats)):
            area = int(stats[label, cv2.CC_STAT_AREA])
            if area >= least_pixels:
                found.append((area, index, label, stats[label], labels))
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    chosen = sorted(found[:most], key=lambda item: (item[1], -item[0], item[2]))
    components = []
    for area, index, label, stat, labels in chosen:
        left, top, width, height = (int(value) for value in stat[:4])
        box = np.s_[top : top + height, left : left + width]
        bitmap = labels[box] == label
        score = float(probability[box][bitmap].mean(dtype=np.float64))
        components.append(Component(index, encode(bitmap, left, top), area, min(1.0, score)))
    return components


def encode(bitmap: NDArray[np.bool_], left: int, top: int) -> tuple[int, ...]:
    """Encode a bitmap (h, w) that lies at (top, left) of an image as the points of a CVAT mask."""
    height, width = bitmap.shape
    flat = np.concatenate(([False], bitmap.ravel(), [not bitmap.flat[-1]]))
    runs = np.diff(np.flatnonzero(flat[1:] != flat[:-1]), prepend=0)
    return (*runs.tolist(), left, top, left + width - 1, top + height - 1)


def bitmap_of(component: Component, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Paint a component: bool (H, W) of an image of this (height, width)."""
    *runs, left, top, right, bottom = component.points
    values = np.arange(len(runs)) % 2 == 1
    box = np.repeat(values, runs).reshape(bottom - top + 1, right - left + 1)
    bitmap = np.zeros(size, np.bool_)
    bitmap[top : bottom + 1, left : right + 1] = box
    return bitmap


def shape_of(component: Component, frame: int, labels: Mapping[int, int]) -> dict[str, object]:
    """Return CVAT's JSON of a shape.

    Args:
        component: The component.
        frame: Index of the frame in its task.
        labels: The id of CVAT's label of each class index.
    """
    return {
        "type": "mask",
        "frame": frame,
        "label_id": labels[component.class_index],
        "points": list(component.points),
        "source": "auto",
        "score": round(component.score, 4),
        "occluded": False,
        "outside": False,
        "z_order": 0,
        "rotation": 0.0,
        "attributes": [],
    }


def polygons_of(bitmap: NDArray[np.bool_]) -> list[list[float]]:
    """Return the outer outlines of a bitmap as flat lists x, y, x, y; holes are filled.

    CVAT's polygons have no holes. An outline runs through the pixels' centers, as OpenCV draws it.
    """
    outlines, _ = cv2.findContours(
        bitmap.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return [
        [float(value) for value in outline.ravel()] for outline in outlines if len(outline) >= 3
    ]
