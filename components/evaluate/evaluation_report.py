"""The evaluation report: one page on which to decide whether a model is good enough."""

import numpy as np

from components.evaluate.charts import confusion_chart, histogram_chart, precision_recall_chart
from components.evaluate.evaluation import Evaluation
from components.evaluate.pictures import error_legend, picture_rows
from components.evaluate.results import (
    EMPTY_TRUTH_POLICY,
    PER_IMAGE_FILE,
    dataset_figures,
    empty_truth,
    per_image_figures,
)
from segmentor.report import Report
from segmentor.thresholds import sweep

# Images shown at each end of the ranking.
SHOWN = 4
# Rows of the per-image table on the page; all of them are in the CSV.
TABLE_ROWS = 30


def build_report(evaluation: Evaluation) -> str:
    """Returns the page, HTML."""
    contract = evaluation.contract
    names = ", ".join(contract.label_map.names)
    report = Report("Evaluation", f"{len(evaluation.images)} test images; classes: {names}")
    _add_summary(report, evaluation)
    _add_classes(report, evaluation)
    if contract.is_binary:
        _add_threshold(report, evaluation)
    _add_images(report, evaluation)
    report.section("Confusion matrix", "Rows are the truth: each sums to 1.")
    report.chart(confusion_chart(evaluation.confusion, contract.label_map.names))
    _add_examples(report, evaluation)
    _add_provenance(report, evaluation)
    return report.html()


def _add_summary(report: Report, evaluation: Evaluation) -> None:
    dataset, images = dataset_figures(evaluation), per_image_figures(evaluation)
    label = evaluation.contract.label_map
    name = f"IoU of {label.names[1]}" if label.is_binary else "mean IoU"
    report.tiles(
        [
            (f"{name} (data set)", dataset["iou"]),
            ("IoU (mean over images)", images["mean_iou_score"]),
            ("Dice loss (mean over images)", images["mean_dice_loss"]),
            ("pixel accuracy", dataset["pixel_accuracy"]),
            ("images", len(evaluation.images)),
            ("groups", len({image.group for image in evaluation.images})),
        ]
    )
    report.paragraph(
        "Data-set values add the pixels of all images before they divide, so large objects weigh "
        "more; means over images weigh each image the same. The two differ: never compare one "
        "with the other."
    )
    facts = empty_truth(evaluation)
    if facts["images"]:
        report.notice(
            f"{facts['images']} images hold no foreground; the model predicted "
            f"{facts['false_positive_pixels']:,} pixels of it there. {EMPTY_TRUTH_POLICY}"
        )
    if facts["images_without_ground_truth"]:
        report.notice(
            f"{facts['images_without_ground_truth']} images have no ground truth at all "
            "(every pixel ignored); they count nowhere."
        )


def _add_classes(report: Report, evaluation: Evaluation) -> None:
    label_map, scores = evaluation.contract.label_map, evaluation.scores
    report.section("Classes", "Values of the data set as a whole; n/a where a class never occurs.")
    report.table(
        ["class", "IoU", "Dice", "precision", "recall", "true pixels"],
        [
            (
                name,
                float(scores.iou[k]),
                float(scores.dice[k]),
                float(scores.precision[k]),
                float(scores.recall[k]),
                int(scores.support[k]),
            )
            for k, name in enumerate(label_map.names)
        ],
    )
    report.legend((label.name, label.colour) for label in label_map.classes)
    absent = [n for n, count in zip(label_map.names, scores.support, strict=True) if not count]
    if absent:
        report.notice(f"Not in the test set, so not measured: {', '.join(absent)}.")


def _add_threshold(report: Report, evaluation: Evaluation) -> None:
    curve = sweep(evaluation.levels)
    threshold = evaluation.contract.threshold
    report.section("Threshold")
    if np.isnan(curve.iou).all():
        report.notice("The test set holds no foreground: there is no curve to draw.")
        return
    best = curve.best()
    report.paragraph(
        f"The model uses {threshold:.3g}, fixed before this test. On these images "
        f"{curve.threshold[best]:.3g} would have given the highest IoU, {curve.iou[best]:.4f}; it "
        "is shown to judge the choice, not to replace it: a threshold chosen on the test set "
        "flatters the model."
    )
    report.chart(precision_recall_chart(curve, threshold))


def _add_images(report: Report, evaluation: Evaluation) -> None:
    report.section("Images", f"Worst first; all of them are in {PER_IMAGE_FILE}.")
    values = np.array([evaluation.images[i].iou_score for i in evaluation.ranked])
    if not len(values):
        report.notice("No image has ground truth.", "bad")
        return
    report.chart(histogram_chart(values, float(values.mean()), evaluation.iou))
    rows = [evaluation.images[i] for i in evaluation.ranked[:TABLE_ROWS]]
    report.table(
        ["image", "group", "dice_loss", "iou_score"],
        [(row.id, row.group, row.dice_loss, row.iou_score) for row in rows],
    )


def _add_examples(report: Report, evaluation: Evaluation) -> None:
    ranked = evaluation.ranked
    worst = ranked[:SHOWN]
    best = tuple(i for i in reversed(ranked[-SHOWN:]) if i not in worst)
    for title, positions in (("Worst images", worst), ("Best images", best)):
        if positions:
            report.section(title)
            report.legend(error_legend(evaluation.contract.label_map))
            report.pictures(picture_rows(evaluation, positions))


def _add_provenance(report: Report, evaluation: Evaluation) -> None:
    contract = evaluation.contract
    report.section("What was measured")
    spec = contract.input
    report.key_values(
        [
            ("checkpoint", evaluation.checkpoint_digest),
            ("test set", evaluation.dataset.digest),
            ("network input", f"{spec.size[0]} x {spec.size[1]}, policy {spec.size_policy}"),
            ("threshold", contract.threshold if contract.is_binary else "none (argmax)"),
            *sorted(contract.provenance.items()),
        ]
    )
