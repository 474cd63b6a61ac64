"""The champion: the version that is served now, against which a candidate is compared."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.deploy.gate.candidate import EVALUATION_FILE, PER_IMAGE_FILE, Candidate
from components.deploy.gate.checks import Check
from segmentor.bootstrap import LEVEL, interval, mean_statistic, sum_by_group, with_numbers
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.plurals import counted

CHECK = "iou against the served version"


@dataclass(frozen=True)
class Difference:
    """Mean IoU of candidate minus champion over the same images, with its 95 % interval."""

    mean: float
    low: float
    high: float
    images: int

    def __str__(self) -> str:
        bounds = f"[{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.mean:+.4f} {bounds} on {counted(self.images, 'image')}"


def check_champion(
    store: ObjectStore, storage_uri: str, candidate: Candidate, max_iou_drop: float
) -> Check:
    """Compare the candidate with the served version's recorded evaluation.

    It fails if the candidate is worse by more than `max_iou_drop` with confidence: the whole 95 %
    interval of the difference is below. It passes, and says so, if the two cannot be compared
    because there is no record or the test set is another one.
    """
    required = f"not below {-max_iou_drop:+g} with {LEVEL:.0%} confidence"
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
    """Read per_image.csv: the group and IoU of each image whose IoU is defined."""
    scores: dict[str, tuple[str, float]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        value: Any = row["iou_score"]
        if value and math.isfinite(float(value)):
            scores[row["image"]] = (row["group"] or row["image"], float(value))
    return scores


def paired_difference(
    challenger: Mapping[str, tuple[str, float]],
    champion: Mapping[str, tuple[str, float]],
) -> Difference | None:
    """Bootstrap the mean difference over the images that both were evaluated on.

    A single group gives no interval: its mean decides.
    """
    images = sorted(set(challenger) & set(champion))
    if not images:
        return None
    differences = np.array([challenger[name][1] - champion[name][1] for name in images])
    groups = [challenger[name][0] for name in images]
    sums = sum_by_group(groups, with_numbers(differences))  # (G, 2)
    mean = float(differences.mean())
    low, high = interval(sums, mean_statistic) if len(sums) > 1 else (mean, mean)
    return Difference(mean, low, high, len(images))
