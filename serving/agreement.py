"""Whether a faster engine agrees with the exact one, on the images that were kept with the model.

Two questions: how many pixels change class, and how much IoU that costs at most. Some engines
lose 0.002 on one model and gain as much on another, so a loss that happens to be small on a few
images proves nothing: what counts is where it ends at two standard errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.errors import ContractError
from segmentor.inference import Forward, decode_for, mask_of
from segmentor.masks import count_classes, decode_mask, encode_mask
from segmentor.metrics import confusion_matrix, dataset_iou
from segmentor.model_samples import MAX_FLIPPED, KeptSample
from segmentor.onnx_model import OnnxModel

# What a faster engine may lose of the IoU.
MAX_IOU_LOSS = 0.002
# So few pixels differ by rounding alone; one of a class of ten pixels would look like a loss.
ROUNDING = 1e-4
# Two standard errors of so few values are 95 % (Student's t with 5 degrees of freedom: 2.015).
_LEAST_IMAGES = 6
# Of a `native` model the middle of an image is compared: whole photographs would take minutes.
_NATIVE_SIDE = 512
_BAND_ROWS = 256


@dataclass(frozen=True)
class Reference:
    """A kept image with what the exact engine makes of it: its mask as PNG."""

    sample: KeptSample
    exact_mask: bytes


@dataclass(frozen=True)
class Agreement:
    """What changes with an engine, on the images kept with the model.

    `iou_loss`: against the truth; None without it. `iou_loss_at_most`: at two standard errors, or
    what no truth could exceed.
    """

    flipped_fraction: float
    iou_loss: float | None
    iou_loss_at_most: float

    def refusal(self) -> str | None:
        """Says why the engine may not serve, or None."""
        if self.flipped_fraction > MAX_FLIPPED:
            return (
                f"{self.flipped_fraction:.2%} of the pixels differ from fp32, "
                f"at most {MAX_FLIPPED:.2%}"
            )
        if self.flipped_fraction <= ROUNDING or self.iou_loss_at_most <= MAX_IOU_LOSS:
            return None
        if self.iou_loss is None:
            found = (
                f"it may lose up to {self.iou_loss_at_most:.4f} of IoU, for there are no masks "
                f"of {_LEAST_IMAGES} images to measure it"
            )
        else:
            found = (
                f"it loses {self.iou_loss:.4f} of IoU on the images kept with the model, "
                f"and at two standard errors {self.iou_loss_at_most:.4f}"
            )
        return f"{found}; at most {MAX_IOU_LOSS} is granted"


def make_references(model: OnnxModel, samples: Sequence[KeptSample]) -> list[Reference]:
    """Runs the exact engine once on every image.

    Raises:
        ImageError: an image cannot be decoded.
        ContractError: its mask is of another size.
        MaskError: its mask has other values than the model's classes.
    """
    references = []
    for sample in samples:
        pixels, size, _ = _read(model.contract, sample)
        mask = mask_of(model.forward, model.contract, pixels, size)
        references.append(Reference(sample, encode_mask(mask)))
    return references


def compare(
    forward: Forward, contract: ModelContract, references: Sequence[Reference]
) -> Agreement:
    """Compares an engine with the exact one."""
    changes, exact_counts, counts = [], [], []
    for reference in references:
        pixels, size, truth = _read(contract, reference.sample)
        mask = mask_of(forward, contract, pixels, size)
        exact = decode_mask(reference.exact_mask, reference.sample.name)
        changes.append(_count(exact, mask, contract))
        if truth is not None:
            exact_counts.append(_count(truth, exact, contract))
            counts.append(_count(truth, mask, contract))
    change = np.sum(changes, axis=0)
    flipped = 1 - float(np.trace(change)) / float(change.sum())
    bound = _loss_bound(change, contract.is_binary)
    if len(counts) < max(_LEAST_IMAGES, len(references)):
        return Agreement(flipped, None, bound)
    loss, error = _loss(np.array(exact_counts), np.array(counts), contract.is_binary)
    if not np.isfinite(error):  # without one of the images there is nothing to measure
        return Agreement(flipped, None, bound)
    return Agreement(flipped, loss, min(bound, loss + 2 * error))


def _loss_bound(change: NDArray[np.int64], is_binary: bool) -> float:
    """What no loss of IoU can exceed, whatever the truth: 1 - IoU of the two engines' masks.

    1 - IoU is a metric, Jaccard's distance: going from the exact mask to the truth by way of the
    other mask is never shorter.
    """
    if np.trace(change) == change.sum():
        return 0.0
    iou = dataset_iou(change, is_binary)
    return 1.0 if np.isnan(iou) else 1 - iou


def _loss(
    exact: NDArray[np.int64], counts: NDArray[np.int64], is_binary: bool
) -> tuple[float, float]:
    """The loss of IoU on all images, and its standard error by the jackknife.

    Args:
        exact: (N, K, K), confusion of each image with the exact engine.
        counts: (N, K, K), the same with the other engine.
        is_binary: Of the model.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11.
    """

    def loss(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
        return dataset_iou(first, is_binary) - dataset_iou(second, is_binary)

    all_exact, all_counts = exact.sum(axis=0), counts.sum(axis=0)
    images = zip(exact, counts, strict=True)
    without = np.array([loss(all_exact - one, all_counts - other) for one, other in images])
    spread = ((without - without.mean()) ** 2).mean()
    return loss(all_exact, all_counts), float(np.sqrt((len(without) - 1) * spread))


def _count(
    truth: NDArray[np.uint8], mask: NDArray[np.uint8], contract: ModelContract
) -> NDArray[np.int64]:
    """A confusion matrix (K, K), band by band: it takes 20 bytes a pixel."""
    classes = len(contract.label_map)
    total = np.zeros((classes, classes), np.int64)
    for top in range(0, mask.shape[0], _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        total += confusion_matrix(truth[band], mask[band], classes)
    return total


def _read(
    contract: ModelContract, sample: KeptSample
) -> tuple[NDArray[np.uint8], tuple[int, int], NDArray[np.uint8] | None]:
    """Returns pixels as the model takes them, the (height, width) of the mask, and the truth."""
    pixels, size = decode_for(contract, sample.image, sample.name)
    truth = None
    if sample.mask is not None:
        truth = decode_mask(sample.mask, sample.name)
        if truth.shape != size:
            raise ContractError(sample.name, f"a mask of {truth.shape}", f"{size}, as its image")
        count_classes(truth, contract.label_map, sample.name)
    if contract.input.size_policy == "resize":
        return pixels, size, truth
    top, left = (max(0, length - _NATIVE_SIDE) // 2 for length in size)
    middle = (slice(top, top + _NATIVE_SIDE), slice(left, left + _NATIVE_SIDE))
    pixels = pixels[middle]
    return pixels, (pixels.shape[0], pixels.shape[1]), None if truth is None else truth[middle]
