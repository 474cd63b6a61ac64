"""The evaluation report: one page on which to decide whether a model is good enough."""

import numpy as np

from components.evaluate.charts import (
    confusion_chart,
    histogram_chart,
    precision_recall_chart,
    reliability_chart,
)
from components.evaluate.evaluation import Evaluation
from components.evaluate.figures import (
    EMPTY_TRUTH_POLICY,
    class_figures,
    dataset_figures,
    empty_truth,
    intervals,
    per_image_figures,
    sweep_figures,
)
from components.evaluate.pictures import error_legend, picture_rows
from components.evaluate.results import PER_IMAGE_FILE
from components.evaluate.slices import slices
from segmentor.bootstrap import FEW_GROUPS
from segmentor.calibration import expected_calibration_error, reliability
from segmentor.masks import overlay_legend
from segmentor.plurals import counted
from segmentor.report import Report
from segmentor.seen_data import seen_data_notice, split_findings
from segmentor.thresholds import sweep

# Images shown at each end of the ranking.
SHOWN = 4
# Rows of the per-image table on the page; all of them are in the CSV.
TABLE_ROWS = 30
# The terminal shows as many.
DECIMALS = 4
# Show KITTI road's figures for this class only.
KITTI_CLASS = "road"
_CLASS_COLUMNS = (
    *("dice", "precision", "recall", "boundary_iou", "hd95"),
    *("support", "false_pixels"),
)


def build_report(evaluation: Evaluation) -> Report:
    """Return the page."""
    contract = evaluation.contract
    names = ", ".join(contract.label_map.names)
    report = Report("Evaluation", f"{evaluation.network}; classes: {names}")
    _add_summary(report, evaluation)
    _add_examples(report, evaluation)
    _add_classes(report, evaluation)
    report.section("Confusion matrix", "Rows are the truth: each sums to 1.")
    report.chart(confusion_chart(evaluation.confusion, contract.label_map.names))
    if contract.is_binary:
        _add_threshold(report, evaluation)
    _add_calibration(report, evaluation)
    _add_slices(report, evaluation)
    _add_images(report, evaluation)
    _add_provenance(report, evaluation)
    return report


def _add_summary(report: Report, evaluation: Evaluation) -> None:
    dataset, images = dataset_figures(evaluation), per_image_figures(evaluation)
    label = evaluation.contract.label_map
    name = f"IoU of {label.names[1]}" if label.is_binary else "mean IoU"
    report.tiles(
        [
            (f"{name} (data set)", _figure(dataset["iou"])),
            ("IoU (mean over images)", _figure(images["mean_iou_score"])),
            ("Dice loss (mean over images)", _figure(images["mean_dice_loss"])),
            ("pixel accuracy", _figure(dataset["pixel_accuracy"])),
            ("images", len(evaluation.images)),
            ("groups", len({image.group for image in evaluation.images})),
        ]
    )
    report.key_values(
        [("checkpoint", evaluation.checkpoint_digest), ("test set", evaluation.dataset.digest)]
    )
    seen = seen_data_notice(evaluation.contract, evaluation.dataset.digest)
    if seen:
        report.notice(seen, "bad")
    for text in split_findings(evaluation.dataset).leaks:
        report.notice(f"{text} The intervals below are too narrow.", "bad")
    report.paragraph(
        "Data-set values add the pixels of all images before they divide, so large objects weigh "
        "more; means over images weigh each image the same. The two differ: never compare one "
        "with the other."
    )
    _add_intervals(report, evaluation)
    _add_not_measured(report, evaluation)
    _add_never_predicted(report, evaluation)
    facts = empty_truth(evaluation)
    if facts["images"]:
        report.notice(
            f"Images without foreground: {facts['images']}, of which {facts['rightly_empty']} have "
            "none predicted. In the others the model predicted "
            f"{counted(facts['false_positive_pixels'], 'pixel')} of it. {EMPTY_TRUTH_POLICY}"
        )
    if facts["images_without_ground_truth"]:
        report.notice(
            "Images without any ground truth (every pixel ignored), which count nowhere: "
            f"{facts['images_without_ground_truth']}."
        )


def _add_not_measured(report: Report, evaluation: Evaluation) -> None:
    scores, label_map = evaluation.scores, evaluation.contract.label_map
    absent = evaluation.not_measured
    if not absent:
        return
    false = sum(int(scores.false_pixels[label_map.names.index(name)]) for name in absent)
    report.notice(
        f"Not measured, because the test set has no true pixels of them: {', '.join(absent)}. "
        f"The figures say nothing about them. Pixels predicted as one of them: {false:,}."
    )


def _add_never_predicted(report: Report, evaluation: Evaluation) -> None:
    support = dict(zip(evaluation.contract.label_map.names, evaluation.scores.support, strict=True))
    if lost := evaluation.never_predicted:
        listed = ", ".join(f"{name} ({counted(support[name], 'true pixel')})" for name in lost)
        report.notice(
            f"Never predicted, so IoU 0: {listed}. More epochs, training.class_weights=balanced or "
            "a larger processing.size may help. The confusion matrix shows what took their place."
        )


def _add_intervals(report: Report, evaluation: Evaluation) -> None:
    bounds = intervals(evaluation)
    if bounds["groups"] < 2:
        report.notice(
            "All images belong to one group: no interval can be given, and the figures say "
            "nothing about other groups."
        )
        return
    report.key_values(
        [
            ("IoU, 95 % interval", _range(bounds["iou"])),
            ("IoU (mean over images), 95 % interval", _range(bounds["mean_iou_score"])),
            ("method", f"{bounds['method']}, {bounds['groups']} of them"),
        ]
    )
    if bounds["groups"] < FEW_GROUPS:
        report.notice(
            f"{bounds['groups']} groups are few: the true interval is wider than the one shown."
        )


def _figure(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.{DECIMALS}f}"


def _range(bounds: list[float]) -> str:
    return "n/a" if np.isnan(bounds[0]) else f"{_figure(bounds[0])} to {_figure(bounds[1])}"


def _add_classes(report: Report, evaluation: Evaluation) -> None:
    label_map = evaluation.contract.label_map
    report.section(
        "Classes",
        "Values of the data set as a whole. A class without true pixels is not measured and in no "
        "mean; its false pixels count as misses of the classes they cover.",
    )
    report.table(
        [
            "class",
            "IoU",
            "IoU, 95 % interval",
            "Dice",
            "precision",
            "recall",
            "boundary IoU",
            "HD95, pixels",
            "true pixels",
            "false pixels",
        ],
        [
            (
                figures["name"],
                figures["iou"],
                _range(bounds),
                *(figures[key] for key in _CLASS_COLUMNS),
            )
            for figures, bounds in zip(
                class_figures(evaluation),
                intervals(evaluation)["classes"].values(),
                strict=True,
            )
        ],
        DECIMALS,
    )
    report.paragraph(
        "Boundary IoU compares strips along the edges, 2 % of the diagonal wide. HD95 is how far "
        "apart 95 % of the edge lies at most, averaged over the images that have the class in "
        "truth and prediction."
    )
    report.legend((label.name, label.colour) for label in label_map.classes)


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
    if evaluation.contract.label_map.names[1] == KITTI_CLASS:
        kitti = sweep_figures(curve)["kitti_perspective"]
        report.paragraph(
            "KITTI road's figures, in perspective view (its leader board: bird's-eye):"
        )
        report.table(
            ["MaxF", "AP (11 points)", "precision", "recall", "FPR", "FNR"],
            [list(kitti.values())],
            DECIMALS,
        )


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
        DECIMALS,
    )


def _add_slices(report: Report, evaluation: Evaluation) -> None:
    report.section("Slices", "Data-set IoU on parts of the images; the groups worst first.")
    parts = slices(evaluation.images, evaluation.contract.is_binary)
    rows = [(p.by, p.name, p.images, p.iou) for p in parts]
    report.table(["by", "part", "images", "IoU"], rows, DECIMALS)


def _add_calibration(report: Report, evaluation: Evaluation) -> None:
    counts = evaluation.confidence
    error = expected_calibration_error(counts)
    if np.isnan(error):
        return
    report.section(
        "Calibration",
        f"Expected calibration error {error:.4f}: how far the probability is from the share of "
        "pixels that are right, on average. On the right: how many pixels have which confidence; "
        "a model that is nearly always sure has its pixels at 1.",
    )
    report.chart(reliability_chart(*reliability(counts), counts[0]))


def _add_examples(report: Report, evaluation: Evaluation) -> None:
    ranked = evaluation.ranked
    worst = ranked[:SHOWN]
    best = tuple(i for i in reversed(ranked[-SHOWN:]) if i not in worst)
    note = "Image, truth, prediction and error side by side. Dark photographs are shown brighter."
    for title, positions in (("Worst images", worst), ("Best images", best)):
        if positions:
            report.section(title, note)
            note = ""
            report.legend(overlay_legend(evaluation.contract.label_map))
            report.legend(error_legend(evaluation.contract.label_map))
            report.pictures(picture_rows(evaluation, positions))


def _add_provenance(report: Report, evaluation: Evaluation) -> None:
    contract = evaluation.contract
    report.section("What was measured")
    spec = contract.input
    report.key_values(
        [
            ("network", evaluation.network),
            ("network input", f"{spec.size[0]} x {spec.size[1]}, policy {spec.size_policy}"),
            ("threshold", contract.threshold if contract.is_binary else "none (argmax)"),
            *sorted(contract.provenance.items()),
        ]
    )
