"""The files of an evaluation: evaluation.json, per_image.csv, what KFP shows, the text table."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluate.evaluation import Evaluation
from components.evaluate.figures import per_image_figures, to_json
from components.evaluate.scoring import ImageScores
from segmentor.thresholds import STEPS, sweep

EVALUATION_FILE = "evaluation.json"
PER_IMAGE_FILE = "per_image.csv"

# Longer tables are for the CSV, not for eyes.
TABLE_ROWS = 50
# Points of the ROC curve that the pipelines page draws.
ROC_POINTS = 50


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Writes evaluation.json and per_image.csv into an existing folder."""
    write_json(folder / EVALUATION_FILE, to_json(evaluation))
    names = evaluation.contract.label_map.names
    with (folder / PER_IMAGE_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        counts = [f"{kind}[{name}]" for name in names for kind in ("tp", "fp", "fn")]
        writer.writerow(
            ["image", "group", "dice_loss", "iou_score", "height", "width", "brightness", *counts]
        )
        for image in evaluation.images:
            writer.writerow(_row(image))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON for people and programs: indented, finite numbers only."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def classification_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """The metadata of KFP's ClassificationMetrics: confusion matrix, and a ROC curve if binary."""
    names = evaluation.contract.label_map.names
    metadata: dict[str, Any] = {
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": name} for name in names],
            "rows": [{"row": [float(v) for v in row]} for row in evaluation.confusion],
        }
    }
    curve = sweep(evaluation.levels)
    if np.isfinite(curve.recall).all() and np.isfinite(curve.false_positive_rate).all():
        metadata["confidenceMetrics"] = [
            {
                "confidenceThreshold": float(curve.threshold[k]),
                "recall": float(curve.recall[k]),
                "falsePositiveRate": float(curve.false_positive_rate[k]),
            }
            # Falling thresholds, so that the curve is drawn from the left to the right.
            for k in range(len(curve.threshold) - 1, -1, -STEPS // ROC_POINTS)
        ]
    return metadata


def text_table(evaluation: Evaluation) -> str:
    """The table for the terminal: image | dice_loss | iou_score, overall, then per class."""
    images = evaluation.images[:TABLE_ROWS]
    overall = per_image_figures(evaluation)
    width = max(12, *(len(image.id) for image in images))
    lines = [f"{'image':<{width}} | dice_loss | iou_score"]
    lines += [
        f"{i.id:<{width}} | {_figure(i.dice_loss, 9)} | {_figure(i.iou_score, 9)}" for i in images
    ]
    if more := len(evaluation.images) - len(images):
        lines.append(f"... and {more} more images, in {PER_IMAGE_FILE}")
    losses = _figure(overall["mean_dice_loss"], 9)
    ious = _figure(overall["mean_iou_score"], 9)
    lines += [f"{'overall':<{width}} | {losses} | {ious}   (mean over images)", ""]
    names = evaluation.contract.label_map.names
    width = max(12, *(len(name) for name in names))
    lines.append(
        f"{'class':<{width}} |    iou |   dice | precision | recall | true pixels | false pixels"
    )
    scores = evaluation.scores
    for k, name in enumerate(names):
        lines.append(
            f"{name:<{width}} | {_figure(scores.iou[k], 6)} | {_figure(scores.dice[k], 6)} | "
            f"{_figure(scores.precision[k], 9)} | {_figure(scores.recall[k], 6)} | "
            f"{scores.support[k]:11,d} | {scores.false_pixels[k]:12,d}"
        )
    if evaluation.not_measured:
        lines.append(f"not measured, no true pixels: {', '.join(evaluation.not_measured)}")
    lines.append(f"data-set iou {evaluation.iou:.4f}   (all pixels of the set together)")
    return "\n".join(lines) + "\n"


def _figure(value: float, width: int) -> str:
    """Four digits; n/a for what is undefined."""
    return f"{'n/a':>{width}}" if np.isnan(value) else f"{value:{width}.4f}"


def _row(image: ImageScores) -> list[Any]:
    # More digits than anyone reads: what is rounded twice would differ from the page.
    scores = ["" if np.isnan(v) else f"{v:.9f}" for v in (image.dice_loss, image.iou_score)]
    counts = [int(value) for value in image.counts.ravel()]
    return [image.id, image.group, *scores, *image.size, f"{image.brightness:.4f}", *counts]


def _finite(value: Any) -> Any:
    """Replaces NaN, which JSON does not know, by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
