"""How well edges are met: boundary IoU, and the 95 % Hausdorff distance."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.label_map import IGNORE_INDEX

# Width of the boundary as a share of the image's diagonal.
# Source: Cheng et al., "Boundary IoU", CVPR 2021.
BOUNDARY_SHARE = 0.02
PERCENTILE = 95


@dataclass(frozen=True)
class BoundaryScores:
    """Edges of one image, per class: boundary pixels in both and in either, int64 (K,), and HD95.

    `hd95` is in pixels of the source, NaN where truth and prediction do not both have an edge.
    """

    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    hd95: NDArray[np.float64]


def score_boundaries(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> BoundaryScores:
    """Compare the edges of each class; ignored pixels belong to no class on either side.

    An edge is where a class meets another class or the image's border. Where it meets ignored
    pixels nobody knows its edge, and truth and prediction would share it by construction.

    Args:
        truth: uint8 (H, W).
        prediction: uint8 (H, W).
        classes: K.
    """
    ignored = truth == IGNORE_INDEX
    width = max(1, round(BOUNDARY_SHARE * float(np.hypot(*truth.shape))))
    intersection = np.zeros(classes, np.int64)
    union = np.zeros(classes, np.int64)
    distances = np.full(classes, np.nan)
    for index in range(classes):
        true, predicted = truth == index, (prediction == index) & ~ignored
        if not (true.any() or predicted.any()):
            continue
        true_edge, predicted_edge = (boundary(m, width, ignored) for m in (true, predicted))
        intersection[index] = np.count_nonzero(true_edge & predicted_edge)
        union[index] = np.count_nonzero(true_edge | predicted_edge)
        if true.any() and predicted.any():
            distances[index] = hausdorff(true, predicted, ignored)
    return BoundaryScores(intersection, union, distances)


def boundary(mask: NDArray[np.bool_], width: int, ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return pixels of a mask (H, W) within `width` of its edge or the image's border."""
    return mask & ~_eroded(mask | ignored, np.ones((3, 3), np.uint8), width)


def hausdorff(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    percentile: float = PERCENTILE,
) -> float:
    """Return the larger of the two directed percentile distances between the edges, in pixels.

    NaN where one of them has no edge.
    """
    rows, columns = np.nonzero(first | second)
    # Both edges lie inside, and their neighbours: nothing else can change a distance.
    box = tuple(slice(max(p.min() - 1, 0), p.max() + 2) for p in (rows, columns))
    edges = [_edge(mask[box], ignored[box]) for mask in (first, second)]
    if not all(edge.any() for edge in edges):
        return float("nan")
    away = [_distance_to(edge) for edge in edges]
    return max(
        float(np.percentile(away[1][edges[0]], percentile)),
        float(np.percentile(away[0][edges[1]], percentile)),
    )


def _edge(mask: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return pixels with a neighbour (of four) of another class or outside the array."""
    cross = np.asarray(cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), np.uint8)
    return mask & ~_eroded(mask | ignored, cross, 1)


def _eroded(
    mask: NDArray[np.bool_], element: NDArray[np.uint8], iterations: int
) -> NDArray[np.bool_]:
    """Return the mask without the pixels at its edge and at the array's border."""
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.erode(framed, element, iterations=iterations)[1:-1, 1:-1] > 0)


def _distance_to(edge: NDArray[np.bool_]) -> NDArray[np.float32]:
    distance = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)
