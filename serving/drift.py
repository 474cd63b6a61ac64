"""Whether the images that come are still like those of training, by the reference in the contract.

The population stability index compares two histograms: sum of (a - e) * ln(a / e) over their bins.
Of images drawn alike it is not 0 but (bins - 1) * (1 / n + 1 / m) on average, which few images make
large; that average is taken off, so that 0 means "as in training" whatever their number.

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
# What is compared are the last images: an hour of a busy predictor, a week of an idle one.
WINDOW = 1000
# Fewer say nothing.
LEAST = 50

DRIFT = Gauge(
    "segmentor_drift_index",
    "How unlike training the last images are: 0 alike, above 0.25 clearly not; NaN too few.",
    ["signal"],
)


class DriftWatch:
    """The last images' histograms beside those of training; one a process, for many threads."""

    def __init__(self, reference: TrainingReference) -> None:
        self._reference = {BRIGHTNESS: reference.brightness} | {
            coverage_signal(name): counts for name, counts in reference.coverage.items()
        }
        self._seen: deque[dict[str, int]] = deque()
        self._counts = {signal: [0] * BINS for signal in self._reference}
        self._lock = threading.Lock()

    def expose(self) -> None:
        """Has /metrics compute the index of every signal when it is asked for."""
        for signal in self._reference:
            DRIFT.labels(signal).set_function(partial(self.index, signal))

    def observe(self, values: Mapping[str, float]) -> None:
        """Adds one image: of each signal its value in 0..1."""
        bins = {signal: tenth(values[signal]) for signal in self._reference if signal in values}
        with self._lock:
            self._seen.append(bins)
            self._count(bins, 1)
            if len(self._seen) > WINDOW:
                self._count(self._seen.popleft(), -1)

    def index(self, signal: str) -> float:
        """The index of a signal, or NaN while there are few images."""
        with self._lock:
            counts = tuple(self._counts[signal])
        return stability_index(self._reference[signal], counts)

    def _count(self, bins: Mapping[str, int], step: int) -> None:
        for signal, position in bins.items():
            self._counts[signal][position] += step


def coverage_signal(name: str) -> str:
    """What the coverage of a class is called as a signal."""
    return f"coverage {name}"


def stability_index(expected: Sequence[int], actual: Sequence[int]) -> float:
    """The population stability index of two histograms, less its average when nothing drifts.

    Half an image is added to each bin, or an empty one would make the index infinite.
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
    # Bins that both leave empty add nothing to the average either.
    used = sum(1 for before, now in zip(expected, actual, strict=True) if before or now)
    return max(0.0, index - (used - 1) * (1 / n + 1 / m))
