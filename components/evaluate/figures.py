"""The numbers of an evaluation, as evaluation.json holds them."""

from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluate.evaluation import Evaluation
from components.evaluate.slices import slices
from segmentor.bootstrap import (
    LEVEL,
    class_intervals,
    interval,
    iou_statistic,
    mean_statistic,
    sum_by_group,
    with_numbers,
)
from segmentor.calibration import expected_calibration_error, reliability
from segmentor.thresholds import ThresholdSweep, sweep

SCHEMA_VERSION = 1
EMPTY_TRUTH_POLICY = (
    "An image whose truth holds no foreground scores IoU 1 if none is predicted, else 0. In the "
    "first case it has no Dice loss and is left out of that mean. Data-set values add the pixels "
    "of all images first and need no such rule."
)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the content of evaluation.json; what is undefined is null."""
    contract = evaluation.contract
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
        "intervals": intervals(evaluation),
        "classes": class_figures(evaluation),
        "not_measured": list(evaluation.not_measured),
        "never_predicted": list(evaluation.never_predicted),
        "calibration": calibration_figures(evaluation),
        "threshold_sweep": sweep_figures(sweep(evaluation.levels)) if contract.is_binary else None,
        "slices": [asdict(part) for part in slices(evaluation.images, contract.is_binary)],
        "empty_truth": empty_truth(evaluation),
        "confusion": evaluation.confusion.tolist(),
        "provenance": contract.provenance,
    }


def dataset_figures(evaluation: Evaluation) -> dict[str, float]:
    """Return values of the set as a whole: pixels of all images are added, then divided."""
    confusion = evaluation.confusion
    total = confusion.sum()
    return {
        "iou": evaluation.iou,
        "mean_iou": evaluation.scores.mean_iou(),
        "mean_dice": evaluation.scores.mean_dice(),
        "pixel_accuracy": float(np.trace(confusion) / total) if total else float("nan"),
        "boundary_iou": _one_iou(boundary_iou(evaluation), evaluation.contract.is_binary),
    }


def per_image_figures(evaluation: Evaluation) -> dict[str, float]:
    """Means over images: each image counts the same, however many pixels it has."""
    return {
        "mean_dice_loss": _mean([image.dice_loss for image in evaluation.images]),
        "mean_iou_score": _mean([image.iou_score for image in evaluation.images]),
    }


@lru_cache(maxsize=1)
def intervals(evaluation: Evaluation) -> dict[str, Any]:
    """Bootstrap intervals of the figures above, resampling groups (see segmentor.bootstrap)."""
    images, is_binary = evaluation.images, evaluation.contract.is_binary
    groups = [image.group for image in images]
    counts = sum_by_group(groups, np.stack([image.counts for image in images]))
    losses, ious = (
        sum_by_group(groups, with_numbers(np.array([getattr(image, name) for image in images])))
        for name in ("dice_loss", "iou_score")
    )
    return {
        "level": LEVEL,
        "method": "percentile bootstrap over groups",
        "groups": len(counts),
        "iou": list(interval(counts, iou_statistic(is_binary))),
        "mean_iou": list(interval(counts, iou_statistic(is_binary=False))),
        "mean_dice_loss": list(interval(losses, mean_statistic)),
        "mean_iou_score": list(interval(ious, mean_statistic)),
        "classes": {
            name: list(bounds)
            for name, bounds in zip(
                evaluation.contract.label_map.names, class_intervals(counts), strict=True
            )
        },
    }


def class_figures(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return scores of each class over the set; HD95 is the mean over images that have both."""
    scores, edges = evaluation.scores, boundary_iou(evaluation)
    distances = np.stack([image.boundary.hd95 for image in evaluation.images])  # (N, K)
    return [
        {
            "name": name,
            "iou": float(scores.iou[k]),
            "dice": float(scores.dice[k]),
            "precision": float(scores.precision[k]),
            "recall": float(scores.recall[k]),
            "support": int(scores.support[k]),
            "false_pixels": int(scores.false_pixels[k]),
            "boundary_iou": float(edges[k]),
            "hd95": _mean([float(value) for value in distances[:, k]]),
            "hd95_images": int(np.count_nonzero(~np.isnan(distances[:, k]))),
        }
        for k, name in enumerate(evaluation.contract.label_map.names)
    ]


def boundary_iou(evaluation: Evaluation) -> NDArray[np.float64]:
    """Boundary IoU of each class over the whole set: float64 (K,), NaN without true pixels."""
    intersection = np.stack([i.boundary.intersection for i in evaluation.images]).sum(axis=0)
    union = np.stack([i.boundary.union for i in evaluation.images]).sum(axis=0)
    measured = (union > 0) & (evaluation.scores.support > 0)
    result = np.full(len(union), np.nan)
    np.divide(intersection, union, out=result, where=measured)
    return result


def calibration_figures(evaluation: Evaluation) -> dict[str, Any]:
    """ECE, and the reliability curve behind it."""
    confidence, right = reliability(evaluation.confidence)
    return {
        "ece": expected_calibration_error(evaluation.confidence),
        "bins": [
            {"pixels": int(pixels), "confidence": float(c), "right": float(r)}
            for pixels, c, r in zip(evaluation.confidence[0], confidence, right, strict=True)
        ],
    }


def sweep_figures(curve: ThresholdSweep) -> dict[str, Any]:
    """AP, the best threshold in hindsight, and KITTI road's figures in perspective view."""
    if np.isnan(curve.iou).all():
        return {"average_precision": None, "best_threshold": None, "kitti_perspective": None}
    best = curve.best()
    false_positive_rate = curve.false_positive_rate[best]
    return {
        "average_precision": curve.average_precision(),
        "best_threshold": float(curve.threshold[best]),
        "best_iou": float(curve.iou[best]),
        # The benchmark itself evaluates in bird's-eye view: these are not its leader board's.
        "kitti_perspective": {
            "max_f": float(curve.f1[best]),
            "average_precision": curve.interpolated_precision(),
            "precision": float(curve.precision[best]),
            "recall": float(curve.recall[best]),
            "false_positive_rate": float(false_positive_rate),
            "false_negative_rate": float(1 - curve.recall[best]),
        },
    }


def empty_truth(evaluation: Evaluation) -> dict[str, Any]:
    """Count what was predicted on images without foreground; multiclass models have none."""
    empty = [i for i in evaluation.images if i.valid_pixels and not i.has_truth()]
    if not evaluation.contract.is_binary:
        empty = []
    return {
        "policy": EMPTY_TRUTH_POLICY,
        "images": len(empty),
        "rightly_empty": sum(image.dice_loss != image.dice_loss for image in empty),
        "false_positive_pixels": int(sum(image.confusion[0, 1:].sum() for image in empty)),
        "images_without_ground_truth": sum(not i.valid_pixels for i in evaluation.images),
    }


def main_figures(evaluation: Evaluation) -> dict[str, float | int]:
    """Return the flat, finite numbers of the KFP Metrics artifact."""
    figures: dict[str, float | int] = {
        **dataset_figures(evaluation),
        **per_image_figures(evaluation),
    }
    for name, iou in zip(evaluation.contract.label_map.names, evaluation.scores.iou, strict=True):
        figures[f"iou_{name}"] = float(iou)
    low, high = intervals(evaluation)["iou"]
    figures |= {
        "iou_low": low,
        "iou_high": high,
        "expected_calibration_error": expected_calibration_error(evaluation.confidence),
        "samples": len(evaluation.images),
        "classes_not_measured": len(evaluation.not_measured),
        "classes_never_predicted": len(evaluation.never_predicted),
    }
    return {key: value for key, value in figures.items() if np.isfinite(value)}


def _one_iou(iou: NDArray[np.float64], is_binary: bool) -> float:
    return float(iou[1]) if is_binary else _mean([float(value) for value in iou])


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
