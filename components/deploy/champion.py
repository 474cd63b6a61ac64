"""The champion: the version that is served now, against which a candidate is compared."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.deploy.candidate import EVALUATION_FILE, PER_IMAGE_FILE, Candidate
from components.deploy.gate import Check
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore, ObjectUri

ROUNDS = 2_000
CONFIDENCE = 0.95
CHECK = "iou against the served version"


@dataclass(frozen=True)
class Difference:
    """Mean IoU of candidate minus champion over the same images, with its 95 % interval."""

    mean: float
    low: float
    high: float
    images: int

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}] on {self.images} images"


def check_champion(
    store: ObjectStore, storage_uri: str, candidate: Candidate, max_iou_drop: float
) -> Check:
    """Compares the candidate with the served version's recorded evaluation.

    Passes unless the candidate is worse by more than `max_iou_drop` with confidence: the whole
    95 % interval of the difference lies below. It also passes, and says so, when the two cannot be
    compared: no record, or another test set.
    """
    required = f"not below {-max_iou_drop:+g} with {CONFIDENCE:.0%} confidence"
    try:
        folder = ObjectUri.parse(storage_uri)
        recorded = json.loads(store.read(folder.child(EVALUATION_FILE)))
        champion = read_scores(store.read(folder.child(PER_IMAGE_FILE)).decode())
    except (StoreError, ValueError, KeyError):
        return Check(CHECK, f"not comparable: no evaluation at {storage_uri}", required, True)
    if recorded.get("dataset_digest") != candidate.evaluation.get("dataset_digest"):
        return Check(CHECK, "not comparable: evaluated on another test set", required, True)
    challenger = read_scores(candidate.files[PER_IMAGE_FILE].read_text(encoding="utf-8"))
    difference = paired_difference(challenger, champion)
    if difference is None:
        return Check(CHECK, "not comparable: no image in common", required, True)
    return Check(CHECK, str(difference), required, difference.high >= -max_iou_drop)


def read_scores(text: str) -> dict[str, tuple[str, float]]:
    """Reads per_image.csv: the group and IoU of each image whose IoU is defined."""
    scores: dict[str, tuple[str, float]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        value: Any = row["iou_score"]
        if value and math.isfinite(float(value)):
            scores[row["image"]] = (row["group"] or row["image"], float(value))
    return scores


def paired_difference(
    challenger: Mapping[str, tuple[str, float]],
    champion: Mapping[str, tuple[str, float]],
    seed: int = 0,
) -> Difference | None:
    """Bootstraps the mean difference over the images that both were evaluated on.

    Whole groups are drawn, not images: the images of one drive resemble one another, and an
    interval that took them for independent would be too narrow.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval.
    """
    images = sorted(set(challenger) & set(champion))
    if not images:
        return None
    differences = np.array([challenger[name][1] - champion[name][1] for name in images])
    groups = np.unique([challenger[name][0] for name in images], return_inverse=True)[1]
    means = _resampled_means(differences, groups, np.random.default_rng(seed))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Difference(float(differences.mean()), float(low), float(high), len(images))


def _resampled_means(
    differences: NDArray[np.float64], groups: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.float64]:
    sums = np.bincount(groups, weights=differences)  # (G,)
    counts = np.bincount(groups)
    draws = generator.integers(len(sums), size=(ROUNDS, len(sums)))  # (ROUNDS, G)
    means: NDArray[np.float64] = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    return means
