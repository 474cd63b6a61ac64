"""What the training images were like, kept in the contract so that a predictor can detect drift.

Two kinds of histogram, both over tenths of 0..1: the brightness of the images, and the share of its
pixels that each class takes in an image.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

BINS = 10
# Every eighth pixel in both directions is enough for the mean.
_STEP = 8


@dataclass(frozen=True)
class TrainingReference:
    """Histograms of the training images.

    `brightness` (10 counts) is by `mean_brightness`. `coverage` holds 10 counts a class, by the
    share of the labelled pixels that the class takes.
    """

    images: int
    brightness: tuple[int, ...]
    coverage: dict[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        for name, counts in {"brightness": self.brightness, **self.coverage}.items():
            if len(counts) != BINS or min(counts) < 0 or sum(counts) != self.images:
                raise ValueError(f"{name}: {BINS} counts that add up to {self.images} images")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or wrong.
        """
        return cls(
            images=int(value["images"]),
            brightness=tuple(int(count) for count in value["brightness"]),
            coverage={
                str(name): tuple(int(count) for count in counts)
                for name, counts in value["coverage"].items()
            },
        )


def mean_brightness(image: NDArray[np.uint8]) -> float:
    """Return the mean of uint8 (H, W, 3) over pixels and channels, from 0 (black) to 1 (white)."""
    return float(image[::_STEP, ::_STEP].mean()) / 255


def tenth(value: float) -> int:
    """Return the bin of a value in 0..1; an upper bound belongs to its bin, as in Prometheus."""
    return min(BINS - 1, max(0, math.ceil(value * BINS) - 1))


def histogram(values: list[float]) -> tuple[int, ...]:
    """Count values in 0..1 by tenths."""
    counts = np.bincount([tenth(value) for value in values], minlength=BINS)
    return tuple(int(count) for count in counts)
