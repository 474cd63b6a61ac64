"""Compares two runs on the same test set: paired bootstrap, per class, images that changed most."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.run_record import RunRecord
from pipelines.run_summary import read_json, text_table
from segmentor.bootstrap import (
    FEW_GROUPS,
    LEVEL,
    interval,
    iou_of_counts,
    iou_statistic,
    sum_by_group,
)
from segmentor.errors import ContractError
from segmentor.label_map import LabelMap

CHANGED_IMAGES = 10
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


def compare_runs(first: Path, second: Path) -> Iterator[str]:
    """Yields the lines of the comparison of B (`second`) with A (`first`).

    Raises:
        ContractError: a folder without an evaluation, or runs that were measured on different
            images or classes.
    """
    a, b = read_measured(first), read_measured(second)
    _require_same_test(a, b)
    pairs = np.stack([a.counts, b.counts], axis=1)  # (N, 2, K, 3)
    sums = sum_by_group(a.groups, pairs)  # (G, 2, K, 3)
    one = iou_statistic(a.label_map.is_binary)
    total = sums.sum(axis=0)  # (2, K, 3)
    iou_a, iou_b = (float(one(total[k : k + 1])[0]) for k in (0, 1))
    low, high = interval(sums, lambda drawn: one(drawn[:, 1]) - one(drawn[:, 0]))
    yield f"A  {a.run}"
    yield f"B  {b.run}"
    yield f"test set  {len(a.images)} images in {len(sums)} groups, {a.dataset_digest[:19]}"
    yield ""
    yield f"IoU  A {iou_a:.4f}, B {iou_b:.4f}, B - A {iou_b - iou_a:+.4f} {_range(low, high)}"
    yield _verdict(low, high, len(sums))
    yield ""
    yield from _class_lines(a.label_map, sums)
    yield ""
    yield from _image_lines(a, b)


def read_measured(run: Path) -> Measured:
    """Reads what evaluate wrote: in a run's folder, or in a folder of its own.

    Raises:
        ContractError: no run, or no evaluation that can be read in it.
    """
    is_evaluation = (run / _EVALUATION).is_file()
    folder = run if is_evaluation else RunRecord.read(run).artifact("evaluate", "evaluation")
    figures = read_json(folder / _EVALUATION)
    path = folder / "per_image.csv"
    try:
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


def _verdict(low: float, high: float, groups: int) -> str:
    if np.isnan(low):
        return "One group cannot tell whether that is chance."
    verdict = "B is better." if low > 0 else "A is better." if high < 0 else "No difference shown."
    few = f" ({groups} groups: the interval is too narrow to be trusted)"
    return verdict + (few if groups < FEW_GROUPS else "")


def _class_lines(label_map: LabelMap, sums: NDArray[np.float64]) -> list[str]:
    iou = iou_of_counts(sums.sum(axis=0))  # (2, K)
    rows = []
    for k, name in enumerate(label_map.names):
        low, high = interval(
            sums[:, :, k], lambda drawn: iou_of_counts(drawn[:, 1]) - iou_of_counts(drawn[:, 0])
        )
        rows.append((name, *_triple(iou[0, k], iou[1, k]), _range(low, high)))
    return text_table(("class", "IoU A", "IoU B", "B - A", f"{LEVEL:.0%} interval"), rows)


def _image_lines(a: Measured, b: Measured) -> list[str]:
    change = b.scores - a.scores
    order = np.argsort(-np.abs(np.nan_to_num(change)), kind="stable")[:CHANGED_IMAGES]
    rows: Sequence[Sequence[Any]] = [
        (a.images[k], a.groups[k], *_triple(a.scores[k], b.scores[k])) for k in order
    ]
    return text_table(("images that changed most", "group", "IoU A", "IoU B", "B - A"), rows)


def _triple(first: float, second: float) -> tuple[str, str, str]:
    if np.isnan(first) or np.isnan(second):  # no true pixels: not measured
        return "n/a", "n/a", "n/a"
    return f"{first:.4f}", f"{second:.4f}", f"{second - first:+.4f}"


def _range(low: float, high: float) -> str:
    return "(n/a)" if np.isnan(low) else f"({low:+.4f} .. {high:+.4f})"
