"""The files of an evaluation: evaluation.json, per_image.csv, the figures KFP shows, the table."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluate.evaluation import Evaluation
from components.evaluate.scoring import ImageScores
from segmentor.thresholds import STEPS, sweep

SCHEMA_VERSION = 1
EVALUATION_FILE = "evaluation.json"
PER_IMAGE_FILE = "per_image.csv"

EMPTY_TRUTH_POLICY = (
    "An image whose truth holds no foreground scores IoU 1 if none is predicted, else 0; "
    "data-set values add the pixels of all images first and need no such rule."
)
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


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the content of evaluation.json; what is undefined is null."""
    contract, scores = evaluation.contract, evaluation.scores
    return {
        "schema_version": SCHEMA_VERSION,
        "checkpoint_digest": evaluation.checkpoint_digest,
        "dataset_digest": evaluation.dataset.digest,
        "label_map": contract.label_map.to_json(),
        "threshold": contract.threshold if contract.is_binary else None,
        "samples": len(evaluation.images),
        "groups": len({image.group for image in evaluation.images}),
        "dataset": dataset_figures(evaluation),
        "per_image": per_image_figures(evaluation),
        "classes": [
            {
                "name": name,
                "iou": float(scores.iou[k]),
                "dice": float(scores.dice[k]),
                "precision": float(scores.precision[k]),
                "recall": float(scores.recall[k]),
                "support": int(scores.support[k]),
            }
            for k, name in enumerate(contract.label_map.names)
        ],
        "empty_truth": empty_truth(evaluation),
        "confusion": evaluation.confusion.tolist(),
        "provenance": contract.provenance,
    }


def dataset_figures(evaluation: Evaluation) -> dict[str, float]:
    """Values of the set as a whole: pixels are added up before they are divided."""
    confusion = evaluation.confusion
    total = confusion.sum()
    return {
        "iou": evaluation.iou,
        "mean_iou": evaluation.scores.mean_iou(),
        "mean_dice": evaluation.scores.mean_dice(),
        "pixel_accuracy": float(np.trace(confusion) / total) if total else float("nan"),
    }


def per_image_figures(evaluation: Evaluation) -> dict[str, float]:
    """Means over images: each image counts the same, however many pixels it has."""
    return {
        "mean_dice_loss": _mean([image.dice_loss for image in evaluation.images]),
        "mean_iou_score": _mean([image.iou_score for image in evaluation.images]),
    }


def empty_truth(evaluation: Evaluation) -> dict[str, Any]:
    """What the images without foreground did; of a multiclass model there is no foreground."""
    empty = [i for i in evaluation.images if i.valid_pixels and not i.has_truth()]
    if not evaluation.contract.is_binary:
        empty = []
    return {
        "policy": EMPTY_TRUTH_POLICY,
        "images": len(empty),
        "false_positive_pixels": int(sum(image.confusion[0, 1:].sum() for image in empty)),
        "images_without_ground_truth": sum(not i.valid_pixels for i in evaluation.images),
    }


def main_figures(evaluation: Evaluation) -> dict[str, float | int]:
    """The flat, finite numbers of the KFP Metrics artifact."""
    figures: dict[str, float | int] = {
        **dataset_figures(evaluation),
        **per_image_figures(evaluation),
    }
    for name, iou in zip(evaluation.contract.label_map.names, evaluation.scores.iou, strict=True):
        figures[f"iou_{name}"] = float(iou)
    figures["samples"] = len(evaluation.images)
    return {key: value for key, value in figures.items() if np.isfinite(value)}


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
    lines += [f"{i.id:<{width}} | {i.dice_loss:9.4f} | {i.iou_score:9.4f}" for i in images]
    if more := len(evaluation.images) - len(images):
        lines.append(f"... and {more} more images, in {PER_IMAGE_FILE}")
    losses, ious = overall["mean_dice_loss"], overall["mean_iou_score"]
    lines += [f"{'overall':<{width}} | {losses:9.4f} | {ious:9.4f}   (mean over images)", ""]
    names = evaluation.contract.label_map.names
    width = max(12, *(len(name) for name in names))
    lines.append(f"{'class':<{width}} |    iou |   dice | precision | recall | true pixels")
    scores = evaluation.scores
    for k, name in enumerate(names):
        lines.append(
            f"{name:<{width}} | {scores.iou[k]:6.4f} | {scores.dice[k]:6.4f} | "
            f"{scores.precision[k]:9.4f} | {scores.recall[k]:6.4f} | {scores.support[k]:11,d}"
        )
    lines.append(f"data-set iou {evaluation.iou:.4f}   (all pixels of the set together)")
    return "\n".join(lines) + "\n"


def _row(image: ImageScores) -> list[Any]:
    hits = np.diag(image.confusion)
    counts = np.stack([hits, image.confusion.sum(0) - hits, image.confusion.sum(1) - hits], axis=1)
    scores = ["" if np.isnan(v) else f"{v:.6f}" for v in (image.dice_loss, image.iou_score)]
    brightness = f"{image.brightness:.4f}"
    return [image.id, image.group, *scores, *image.size, brightness, *_flat(counts)]


def _flat(counts: NDArray[np.int64]) -> list[int]:
    return [int(value) for value in counts.ravel()]


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _finite(value: Any) -> Any:
    """Replaces NaN, which JSON does not know, by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
