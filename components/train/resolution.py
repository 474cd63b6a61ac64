"""What the network's resolution leaves of each class: objects that vanish, and the best IoU."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.contract import InputSpec, ModelContract
from segmentor.dataset import Dataset
from segmentor.inference import mask_at
from segmentor.label_map import IGNORE_INDEX, LabelMap
from segmentor.masks import resize_mask
from segmentor.plurals import counted
from segmentor.progress import track

logger = logging.getLogger(__name__)

# Images looked at, evenly spaced in a larger set.
MOST_IMAGES = 100
# A class is warned of above this share of vanished objects, or below this reachable IoU. Specks at
# the edges of large regions vanish too: of CamVid's sky and trees a third, at an IoU above 0.95.
MANY_VANISH = 0.5
GOOD_IOU = 0.8


@dataclass(frozen=True)
class ClassAtSize:
    """A class before and after masks are brought to the network's size.

    `objects` are connected parts of a mask; those in `vanished` have no pixel left. `pixels` are of
    the source, `pixels_left` of the network's size. `reachable_iou` is that of a network without
    any error at its own resolution, measured at the source size.
    """

    name: str
    pixels: int
    pixels_left: int
    objects: int
    vanished: int
    reachable_iou: float

    @property
    def is_poor(self) -> bool:
        """Whether the size costs this class so much that it should be said."""
        share = self.vanished / max(1, self.objects)
        return share > MANY_VANISH or self.reachable_iou < GOOD_IOU

    def describe(self, size: tuple[int, int]) -> str:
        """Return one sentence about what the size costs the class."""
        return (
            f"{self.name} at {size[0]} x {size[1]}: {self.vanished:,} of {self.objects:,} objects "
            f"vanish ({counted(self.pixels, 'pixel becomes', 'pixels become')} "
            f"{self.pixels_left:,}), and no network can have an IoU above {self.reachable_iou:.2f}"
        )


ADVICE = "raise processing.max_pixels or processing.size, or set processing.size_policy=native"


def measure_resolution(dataset: Dataset, spec: InputSpec) -> list[ClassAtSize]:
    """Count each class of the label map at the source size and at the network's.

    Returns:
        A value a class that occurs; nothing under the `native` policy, which scales nothing.
    """
    if spec.size_policy == "native":
        return []
    label_map, samples = dataset.label_map, dataset.samples
    contract = ModelContract(label_map, spec)
    if len(samples) > MOST_IMAGES:
        chosen = np.linspace(0, len(samples) - 1, MOST_IMAGES).astype(int)
        samples = tuple(samples[index] for index in chosen)
    sums = np.zeros((len(label_map), 4), np.int64)  # pixels, left, objects, vanished
    overlap = np.zeros((len(label_map), 2), np.int64)  # intersection and union
    for sample in track(dataset.read_ahead(samples), "measure resolution", len(samples)):
        mask = dataset.mask(sample)
        small = resize_mask(mask, spec.size)
        for index in _present(mask, label_map):
            sums[index] += _count(mask == index, small == index)
        best = restored(small, sample.size, contract)
        best[mask == IGNORE_INDEX] = IGNORE_INDEX
        for index in range(len(label_map)):
            truth, found = mask == index, best == index
            overlap[index] += np.count_nonzero(truth & found), np.count_nonzero(truth | found)
    found = []
    for index in range(1 if label_map.has_background else 0, len(label_map)):
        pixels, left, objects, vanished = sums[index].tolist()
        if pixels:
            iou = float(overlap[index][0] / overlap[index][1])
            name = label_map.names[index]
            found.append(ClassAtSize(name, pixels, left, objects, vanished, iou))
    return found


def restored(
    small: NDArray[np.uint8], size: tuple[int, int], contract: ModelContract
) -> NDArray[np.uint8]:
    """Bring a mask back to the source's size by the inference path, as a perfect prediction."""
    if contract.is_binary:
        return mask_at((small == 1)[None].astype(np.float32), contract, size)
    # An image has few of hundreds of classes; the others have no probability anywhere.
    present = _present(small, contract.label_map) or [0]
    planes = np.stack([small == index for index in present]).astype(np.float32)
    return np.array(present, np.uint8)[mask_at(planes, contract, size)]


def warn_of_lost_classes(found: Sequence[ClassAtSize], size: tuple[int, int]) -> None:
    """Log a warning for each class that the size costs much."""
    for item in found:
        if item.is_poor:
            logger.warning("%s; %s", item.describe(size), ADVICE)


def _present(mask: NDArray[np.uint8], label_map: LabelMap) -> list[int]:
    return [int(value) for value in np.unique(mask) if value < len(label_map)]


def _count(large: NDArray[np.bool_], small: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return pixels, pixels left, objects, and objects without a pixel left."""
    objects, labels = cv2.connectedComponents(large.astype(np.uint8), connectivity=8)
    # As `resize_mask` does it; float32 holds every number up to 16 million exactly.
    left = cv2.resize(
        labels.astype(np.float32), small.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT
    )
    vanished = objects - 1 - int(np.count_nonzero(np.unique(left)))
    return int(np.count_nonzero(large)), int(np.count_nonzero(small)), objects - 1, vanished
