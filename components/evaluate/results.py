"""The files of an evaluation: evaluation.json, per_image.csv, what KFP shows, the text table."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluate.evaluation import Evaluation
from components.evaluate.figures import per_image_figures, to_json
from components.evaluate.pictures import example_sheet
from components.evaluate.scoring import ImageScores
from segmentor.image_io import encode_jpeg
from segmentor.plurals import counted
from segmentor.text_table import text_table
from segmentor.thresholds import STEPS, sweep

EVALUATION_FILE = "evaluation.json"
PER_IMAGE_FILE = "per_image.csv"
# The worst and the best image: what a run page shows.
EXAMPLES_FILE = "examples.jpg"

# Longer tables are in the CSV file only.
TABLE_ROWS = 50
# Points of the ROC curve that the pipelines page draws.
ROC_POINTS = 50


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write evaluation.json, per_image.csv and examples.jpg into an existing folder."""
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
    sheet = example_sheet(evaluation)
    if sheet is not None:
        (folder / EXAMPLES_FILE).write_bytes(encode_jpeg(sheet))


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs: indented, finite numbers only."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def classification_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return KFP's ClassificationMetrics: confusion matrix, and a ROC curve if binary."""
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


def terminal_tables(evaluation: Evaluation) -> str:
    """Return the tables for the terminal: images and their mean, then classes."""
    images = evaluation.images[:TABLE_ROWS]
    rows = [(image.id, _figure(image.dice_loss), _figure(image.iou_score)) for image in images]
    if more := len(evaluation.images) - len(images):
        rows.append((f"... and {counted(more, 'more image')}, in {PER_IMAGE_FILE}", "", ""))
    overall = per_image_figures(evaluation)
    means = (_figure(overall["mean_dice_loss"]), _figure(overall["mean_iou_score"]))
    rows.append(("overall (mean over images)", *means))
    scores = evaluation.scores
    header = ("class", "iou", "dice", "precision", "recall", "true pixels", "false pixels")
    classes = [
        (
            name,
            *(_figure(figures[k]) for figures in (scores.iou, scores.dice)),
            *(_figure(figures[k]) for figures in (scores.precision, scores.recall)),
            f"{scores.support[k]:,d}",
            f"{scores.false_pixels[k]:,d}",
        )
        for k, name in enumerate(evaluation.contract.label_map.names)
    ]
    lines = [*text_table(("image", "dice_loss", "iou_score"), rows), ""]
    lines += text_table(header, classes)
    if evaluation.not_measured:
        lines.append(f"not measured, no true pixels: {', '.join(evaluation.not_measured)}")
    if evaluation.never_predicted:
        lines.append(f"never predicted, iou 0: {', '.join(evaluation.never_predicted)}")
    lines.append(f"data-set iou {evaluation.iou:.4f}   (all pixels of the set together)")
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    """Four digits; n/a for what is undefined."""
    return "n/a" if np.isnan(value) else f"{value:.4f}"


def _row(image: ImageScores) -> list[Any]:
    # Many digits: a value rounded twice would differ from the page.
    scores = ["" if np.isnan(v) else f"{v:.9f}" for v in (image.dice_loss, image.iou_score)]
    counts = [int(value) for value in image.counts.ravel()]
    return [image.id, image.group, *scores, *image.size, f"{image.brightness:.4f}", *counts]


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON does not know, by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
