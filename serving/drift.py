"""Compare the images that arrive with those of training, by the histograms in the contract.

The population stability index of two histograms is the sum of (a - e) * ln(a / e) over their bins.
For images of one distribution its mean is (bins - 1) * (1 / n + 1 / m), which is large for few
images. That mean is subtracted, so 0 means "as in training" for any number of images.

Source: Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020.
"""

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial

from prometheus_client import Gauge

from segmentor.training_reference import BINS, TrainingReference, tenth

BRIGHTNESS = "brightness"
# The number of last images that are compared.
WINDOW = 1000
# Fewer images are not enough to judge.
LEAST = 50

DRIFT = Gauge(
    "segmentor_drift_index",
    "Distance of the last images from training: 0 alike, above 0.25 different; NaN too few.",
    ["signal"],
)


class DriftWatch:
    """Histograms of the last images and of training; one instance a process, thread-safe."""

    def __init__(self, reference: TrainingReference) -> None:
        self._reference = {BRIGHTNESS: reference.brightness} | {
            coverage_signal(name): counts for name, counts in reference.coverage.items()
        }
        self._seen: deque[dict[str, int]] = deque()
        self._counts = {signal: [0] * BINS for signal in self._reference}
        self._lock = threading.Lock()

    def expose(self) -> None:
        """Have /metrics compute the index of every signal at each scrape."""
        for signal in self._reference:
            DRIFT.labels(signal).set_function(partial(self.index, signal))

    def observe(self, values: Mapping[str, float]) -> None:
        """Add one image, given the value of each signal in 0..1."""
        bins = {signal: tenth(values[signal]) for signal in self._reference if signal in values}
        with self._lock:
            self._seen.append(bins)
            self._count(bins, 1)
            if len(self._seen) > WINDOW:
                self._count(self._seen.popleft(), -1)

    def index(self, signal: str) -> float:
        """Return the index of a signal, or NaN while there are too few images."""
        with self._lock:
            counts = tuple(self._counts[signal])
        return stability_index(self._reference[signal], counts)

    def _count(self, bins: Mapping[str, int], step: int) -> None:
        for signal, position in bins.items():
            self._counts[signal][position] += step


def coverage_signal(name: str) -> str:
    """Return the name of the signal for the coverage of a class."""
    return f"coverage {name}"


def stability_index(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Return the population stability index of two histograms, less its mean without drift.

    Half an image is added to each bin, because an empty one would make the index infinite.
    """
    n, m = sum(actual), sum(expected)
    if n < LEAST or m == 0:
        return math.nan
    half = 0.5
    index = 0.0
    for before, now in zip(expected, actual, strict=True):
        e = (before + half) / (m + half * len(expected))
        a = (now + half) / (n + half * len(actual))
        index += (a - e) * math.log(a / e)
    # Bins that are empty in both add nothing to the mean either.
    used = sum(1 for before, now in zip(expected, actual, strict=True) if before or now)
    return max(0.0, index - (used - 1) * (1 / n + 1 / m))
