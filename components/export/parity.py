"""Parity: the exported model against the checkpoint, on several sizes and on all test images."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.calibration import BINS, count_confidence
from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.errors import ContractError, DataError
from segmentor.inference import Forward, decode_for, mask_at
from segmentor.metrics import confusion_matrix, dataset_iou
from segmentor.nn.checkpoint import Checkpoint
from segmentor.nn.deployable import as_forward
from segmentor.onnx_model import OnnxModel
from segmentor.progress import track
from segmentor.tiling import tiled

# Beside the training size: smaller than a stride, odd, and larger than what networks are traced at.
SIZES = ((17, 23), (97, 131), (375, 621))
# Added to the training size for one that is near it and not a multiple of the stride.
BESIDE = (37, 51)
BATCH = 3


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same pixels: the largest difference of a probability, and flipped pixels."""

    name: str
    max_difference: float
    flipped: int
    pixels: int


@dataclass(frozen=True)
class Parity:
    """What was compared, what both are worth on the test set, and the median time of one image.

    `confusions`: int64 (2, N, K, K), of the checkpoint and of the model, a matrix an image.
    `confidence`: the model's counts for its calibration (segmentor/calibration.py).
    """

    sizes: tuple[Comparison, ...]
    images: tuple[Comparison, ...]
    groups: tuple[str, ...]
    confusions: NDArray[np.int64]
    confidence: NDArray[np.float64]
    is_binary: bool
    checkpoint_ms: float
    model_ms: float
    model_digest: str

    @property
    def checkpoint_iou(self) -> float:
        """The checkpoint's IoU on the test set."""
        return dataset_iou(self.confusions[0].sum(axis=0), self.is_binary)

    @property
    def model_iou(self) -> float:
        """The model's IoU on the test set."""
        return dataset_iou(self.confusions[1].sum(axis=0), self.is_binary)

    @property
    def max_difference(self) -> float:
        """The largest of all comparisons; NaN if any is."""
        return float(np.max([c.max_difference for c in (*self.sizes, *self.images)]))

    @property
    def flipped(self) -> int:
        """Pixels whose class differs, over all comparisons."""
        return sum(c.flipped for c in (*self.sizes, *self.images))

    @property
    def pixels(self) -> int:
        """Pixels compared."""
        return sum(c.pixels for c in (*self.sizes, *self.images))


def measure_parity(checkpoint: Checkpoint, model: OnnxModel, val: Path, test: Path) -> Parity:
    """Run both on validation images brought to several sizes, and on every test image.

    Raises:
        ContractError: the data sets have other classes.
        DataError: one of them is empty, or an image cannot be read.
    """
    contract = checkpoint.contract
    val_set, test_set = _open(val, contract), _open(test, contract)
    # Run large images in tiles, as evaluate and the predictor do.
    torch_forward = tiled(as_forward(checkpoint.deployable()), contract)
    model_forward = tiled(model.forward, contract)
    sizes = _compare_sizes(torch_forward, model_forward, contract, val_set)
    images: list[Comparison] = []
    classes = len(contract.label_map)
    confusions: list[list[NDArray[np.int64]]] = []
    confidence = np.zeros((3, BINS))
    seconds: list[tuple[float, float]] = []
    for sample in track(test_set.read_ahead(test_set), "parity", len(test_set)):
        pixels, size = decode_for(contract, test_set.image_content(sample), sample.id)
        truth = test_set.mask(sample)
        start = time.perf_counter()
        expected = torch_forward(pixels[None])[0]
        middle = time.perf_counter()
        found = model_forward(pixels[None])[0]
        seconds.append((middle - start, time.perf_counter() - middle))
        masks = mask_at(expected, contract, size), mask_at(found, contract, size)
        images.append(_comparison(sample.id, expected, found, *masks))
        confusions.append([confusion_matrix(truth, mask, classes) for mask in masks])
        confidence += count_confidence(found, truth, masks[1], contract)
    checkpoint_ms, model_ms = np.median(seconds, axis=0) * 1000
    return Parity(
        sizes=tuple(sizes),
        images=tuple(images),
        groups=tuple(sample.group for sample in test_set.samples),
        confusions=np.stack(confusions, axis=1),
        confidence=confidence,
        is_binary=contract.is_binary,
        checkpoint_ms=float(checkpoint_ms),
        model_ms=float(model_ms),
        model_digest=model.digest,
    )


def check_parity(parity: Parity, max_difference: float, max_flipped: float) -> None:
    """Refuse a model that does not compute what the checkpoint does.

    One flipped pixel is allowed however few there are, unless `max_flipped` is 0: two float
    computations may fall on either side of a threshold.

    Raises:
        ContractError: a limit is exceeded, or a value is not finite.
    """
    remedy = "do not deploy it: report the architecture and the encoder, or try another of them"
    if not parity.max_difference <= max_difference:
        worst = max((*parity.sizes, *parity.images), key=lambda c: _rank(c.max_difference))
        raise ContractError(
            f"parity at {worst.name}",
            f"a probability that differs by {worst.max_difference:.3g} from the checkpoint's",
            f"at most {max_difference:g}",
            remedy,
        )
    allowed = max(max_flipped * parity.pixels, 1 if max_flipped else 0)
    if parity.flipped > allowed:
        worst = max((*parity.sizes, *parity.images), key=lambda c: c.flipped)
        raise ContractError(
            "parity",
            f"{parity.flipped} of {parity.pixels} pixels with another class than the "
            f"checkpoint's (most of them at {worst.name})",
            f"at most {allowed:.0f}",
            remedy,
        )


def parity_figures(parity: Parity) -> dict[str, Any]:
    """Return the flat values of the KFP Metrics artifact."""
    figures = {
        "max_probability_difference": parity.max_difference,
        "flipped_pixels": parity.flipped,
        "pixels": parity.pixels,
        "flipped_fraction": parity.flipped / parity.pixels,
        "images": len(parity.images),
        "sizes": len(parity.sizes),
        "iou": parity.model_iou,
        "checkpoint_iou": parity.checkpoint_iou,
        "median_ms": round(parity.model_ms, 3),
        "model_digest": parity.model_digest,
    }
    return {k: v for k, v in figures.items() if not isinstance(v, float) or np.isfinite(v)}


def write_figures(path: Path, figures: dict[str, Any]) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _open(folder: Path, contract: ModelContract) -> Dataset:
    dataset = Dataset(folder)
    contract.check_classes(dataset.label_map, str(folder))
    if not len(dataset):
        raise DataError(str(folder), "no samples", "at least one", "give the subset a larger ratio")
    return dataset


def _compare_sizes(
    expected: Forward, found: Forward, contract: ModelContract, val: Dataset
) -> list[Comparison]:
    trained = contract.input.size
    beside = (trained[0] + BESIDE[0], trained[1] + BESIDE[1])
    first = [val.image(sample, white=contract.input.white) for sample in val.samples[:BATCH]]
    # With fewer images than a batch, repeat them.
    pictures = [first[index % len(first)] for index in range(BATCH)]
    comparisons = []
    for size in dict.fromkeys((trained, beside, *SIZES)):
        batch = np.stack([_resized(picture, size) for picture in pictures])  # (N, H, W, 3)
        for images in (batch[:1], batch):
            pair = expected(images), found(images)
            masks = [np.stack([mask_at(p, contract, size) for p in side]) for side in pair]
            name = f"{size[0]} x {size[1]}, batch {len(images)}"
            comparisons.append(_comparison(name, *pair, *masks))
    return comparisons


def _comparison(
    name: str,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    expected_mask: NDArray[np.uint8],
    found_mask: NDArray[np.uint8],
) -> Comparison:
    if expected.shape != found.shape:
        raise ContractError(name, f"output of {found.shape}", f"{expected.shape}, the checkpoint's")
    return Comparison(
        name=name,
        max_difference=float(np.abs(expected - found).max()),
        flipped=int(np.count_nonzero(expected_mask != found_mask)),
        pixels=expected_mask.size,
    )


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _rank(value: float) -> float:
    return float("inf") if np.isnan(value) else value
