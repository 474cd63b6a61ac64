"""Prometheus metrics of the predictor: requests, stages, queue, model, and a small drift signal."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from segmentor.training_reference import mean_brightness
from serving.drift import BRIGHTNESS as BRIGHTNESS_SIGNAL
from serving.drift import DriftWatch, coverage_signal

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))

REQUESTS = Counter(
    "segmentor_requests_total", "Requests by route, protocol and code.", ["route", "code"]
)
REQUEST_SECONDS = Histogram(
    "segmentor_request_seconds",
    "Time from request to reply, for answered requests: refusals would hide slow ones.",
    ["route"],
    buckets=_LATENCY,
)
STAGE_SECONDS = Histogram(
    "segmentor_stage_seconds",
    "Time of one stage of one image: decode, infer, mask, encode.",
    ["stage"],
    buckets=_LATENCY,
)
IN_FLIGHT = Gauge("segmentor_in_flight", "Predictions being computed.")
QUEUED = Gauge("segmentor_queued", "Predictions waiting for a worker.")
REFUSED = Counter(
    "segmentor_refused_total", "Requests refused to protect the server, by reason.", ["reason"]
)
MODEL = Gauge(
    "segmentor_model_info",
    "The served model; always 1.",
    ["model", "version", "digest", "engine"],
)
ENGINE_REFUSED = Counter(
    "segmentor_engine_refused_total", "Requested engines that were refused.", ["engine"]
)
ENGINE_FLIPPED = Gauge(
    "segmentor_engine_flipped_fraction",
    "Share of the golden images' pixels that a faster engine changes, compared at start.",
    ["engine"],
)
COVERAGE = Histogram(
    "segmentor_class_coverage",
    "Share of an image covered by a class.",
    ["label"],
    buckets=(0.001, 0.01, 0.05, *_TENTHS),
)
BRIGHTNESS = Histogram(
    "segmentor_image_brightness", "Mean of an image's pixels, 0 black to 1 white.", buckets=_TENTHS
)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Observe how long a stage takes."""
    started = time.perf_counter()
    try:
        yield
    finally:
        STAGE_SECONDS.labels(name).observe(time.perf_counter() - started)


def observe_image(
    pixels: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    names: Sequence[str],
    drift: DriftWatch | None = None,
) -> None:
    """Observe brightness and class coverage of a predicted image, on a sample of its pixels."""
    brightness = mean_brightness(pixels)
    BRIGHTNESS.observe(brightness)
    sparse = mask[:: _step(mask.shape[0]), :: _step(mask.shape[1])]
    counts = np.bincount(sparse.ravel(), minlength=len(names))
    values = {BRIGHTNESS_SIGNAL: brightness}
    for name, count in zip(names, counts, strict=False):
        share = int(count) / sparse.size
        COVERAGE.labels(name).observe(share)
        values[coverage_signal(name)] = share
    if drift is not None:
        drift.observe(values)


def _step(length: int) -> int:
    """Return the step that leaves about 128 samples: 256 would take 0.3 ms an image."""
    return max(1, length // 128)
