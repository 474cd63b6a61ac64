"""Compare what evaluate measured in two runs on one test set: a paired bootstrap over groups."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmentor.bootstrap import interval, iou_of_counts, iou_statistic, sum_by_group
from segmentor.errors import ContractError
from segmentor.label_map import LabelMap
from segmentor.run_record import RunRecord

_EVALUATION = "evaluation.json"
_KINDS = ("tp", "fp", "fn")


@dataclass(frozen=True)
class Measured:
    """What evaluate measured in one run.

    `counts`: float64 (N, K, 3), true positives, false positives, false negatives of each image and
    class. `scores`: float64 (N,), iou_score of each image, NaN where it has none.
    """

    run: Path
    label_map: LabelMap
    dataset_digest: str
    images: tuple[str, ...]
    groups: tuple[str, ...]
    counts: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A figure of two runs, and the 95 % interval of B - A; NaN where it is not measured."""

    a: float
    b: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """Return B - A."""
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Run B compared with run A.

    Attributes:
        a: What was measured in run A.
        b: What was measured in run B.
        groups: Groups of the test set, which the bootstrap draws.
        iou: The data set's IoU.
        classes: The IoU of each class, by name.
    """

    a: Measured
    b: Measured
    groups: int
    iou: Difference
    classes: dict[str, Difference]


def compare(a: str | Path, b: str | Path) -> Comparison:
    """Compare run B with run A, measured on the same test set.

    Args:
        a: The folder of a run, or what evaluate wrote.
        b: Likewise.

    Raises:
        ContractError: a folder without an evaluation, or runs that were measured on different
            images or classes.
    """
    first, second = read_measured(Path(a)), read_measured(Path(b))
    _require_same_test(first, second)
    pairs = np.stack([first.counts, second.counts], axis=1)  # (N, 2, K, 3)
    sums = sum_by_group(first.groups, pairs)  # (G, 2, K, 3)
    total = sums.sum(axis=0)  # (2, K, 3)
    one = iou_statistic(first.label_map.is_binary)
    iou_a, iou_b = (float(one(total[k : k + 1])[0]) for k in (0, 1))
    between = interval(sums, lambda drawn: one(drawn[:, 1]) - one(drawn[:, 0]))
    iou = iou_of_counts(total)  # (2, K)
    classes = {}
    for k, name in enumerate(first.label_map.names):
        low, high = interval(
            sums[:, :, k], lambda drawn: iou_of_counts(drawn[:, 1]) - iou_of_counts(drawn[:, 0])
        )
        classes[name] = Difference(float(iou[0, k]), float(iou[1, k]), low, high)
    return Comparison(first, second, len(sums), Difference(iou_a, iou_b, *between), classes)


def read_measured(run: Path) -> Measured:
    """Read what evaluate wrote: in a run's folder, or in a folder of its own.

    Raises:
        ContractError: no run, or no evaluation that can be read in it.
    """
    is_evaluation = (run / _EVALUATION).is_file()
    folder = run if is_evaluation else RunRecord.read(run).artifact("evaluate", "evaluation")
    path = folder / "per_image.csv"
    try:
        figures = json.loads((folder / _EVALUATION).read_text(encoding="utf-8"))
        label_map = LabelMap.from_json(figures["label_map"])
        digest = str(figures["dataset_digest"])
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        counts = [
            [[float(row[f"{kind}[{name}]"]) for kind in _KINDS] for name in label_map.names]
            for row in rows
        ]
        scores = np.array([float(row["iou_score"] or "nan") for row in rows])
        images, groups = ([row[key] for row in rows] for key in ("image", "group"))
    except (OSError, KeyError, ValueError) as error:
        raise ContractError(
            str(path), f"no evaluation that can be read ({error!r})", "what evaluate wrote"
        ) from error
    return Measured(run, label_map, digest, tuple(images), tuple(groups), np.array(counts), scores)


def _require_same_test(a: Measured, b: Measured) -> None:
    for what, left, right in (
        ("test set", a.dataset_digest[:19], b.dataset_digest[:19]),
        ("classes", ", ".join(a.label_map.names), ", ".join(b.label_map.names)),
        ("images", a.images, b.images),
    ):
        if left != right:
            raise ContractError(
                str(b.run),
                f"another {what} ({right})",
                f"that of {a.run} ({left})",
                "measure both on one: segmentor evaluate B --dataset A/artifacts/split/test",
            )
