"""The charts of the evaluation report, as matplotlib figures without a display."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from segmentor.thresholds import ThresholdSweep

ACCENT = "#0b6bcb"
SECOND = "#d9730b"
QUIET = "#5d6b7d"
# Above this many classes the cells are too small for numbers.
MAX_NUMBERED = 20


def precision_recall_chart(curve: ThresholdSweep, threshold: float) -> Figure:
    """Draw precision over recall, and the scores over the threshold, with the contract's own."""
    figure = Figure(figsize=(10, 3.6))
    left, right = figure.subplots(1, 2)
    at = int(np.argmin(np.abs(curve.threshold - threshold)))
    left.plot(curve.recall, curve.precision, color=ACCENT)
    left.plot(curve.recall[at], curve.precision[at], "o", color=SECOND)
    left.annotate(
        f"threshold {threshold:.3g}",
        (curve.recall[at], curve.precision[at]),
        textcoords="offset points",
        xytext=(-8, -14),
        ha="right",
        color=SECOND,
    )
    left.set(
        xlabel="recall",
        ylabel="precision",
        title=f"Precision and recall (AP {curve.average_precision():.4f})",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )
    for values, name, colour in (
        (curve.iou, "IoU", ACCENT),
        (curve.precision, "precision", "#2e9e5b"),
        (curve.recall, "recall", "#8a4fc7"),
    ):
        right.plot(curve.threshold, values, color=colour, label=name)
    right.axvline(threshold, color=SECOND, linestyle="--", linewidth=1, label="contract")
    right.set(xlabel="threshold", title="Scores by threshold", xlim=(0, 1), ylim=(0, 1.02))
    right.legend(loc="lower center", ncols=4, fontsize=8, frameon=False)
    return _finish(figure)


def histogram_chart(values: NDArray[np.float64], mean: float, dataset_iou: float) -> Figure:
    """Draw how many images have which IoU, with the two averages as lines."""
    figure = Figure(figsize=(10, 2.6))
    axes = figure.subplots()
    axes.hist(values, bins=np.linspace(0, 1, 41).tolist(), color="#a9c9ec", edgecolor="white")
    axes.axvline(mean, color=SECOND, linestyle="--", label=f"mean over images {mean:.4f}")
    axes.axvline(dataset_iou, color=ACCENT, label=f"data-set IoU {dataset_iou:.4f}")
    axes.set(xlabel="IoU of an image", ylabel="images", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return _finish(figure)


def reliability_chart(
    confidence: NDArray[np.float64], right: NDArray[np.float64], pixels: NDArray[np.float64]
) -> Figure:
    """Draw the share of right pixels over the confidence, and how many pixels are in each bin."""
    figure = Figure(figsize=(10, 3.2))
    left, right_axes = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1, label="ideal")
    left.plot(confidence, right, "o-", color=ACCENT, label="model")
    left.set(xlabel="confidence", ylabel="right", title="Reliability", xlim=(0, 1), ylim=(0, 1.02))
    left.legend(loc="upper left", fontsize=8, frameon=False)
    centres = (np.arange(len(pixels)) + 0.5) / len(pixels)
    right_axes.bar(centres, pixels / pixels.sum(), width=0.9 / len(pixels), color="#a9c9ec")
    right_axes.set(xlabel="confidence", ylabel="share of pixels", title="Pixels by confidence")
    return _finish(figure)


def confusion_chart(confusion: NDArray[np.int64], names: tuple[str, ...]) -> Figure:
    """Draw the confusion matrix as shares of each true class."""
    support = confusion.sum(axis=1, keepdims=True)
    share = np.divide(confusion, support, out=np.full(confusion.shape, np.nan), where=support > 0)
    side = min(10.0, 2.2 + 0.55 * len(names))
    figure = Figure(figsize=(side + 1.2, side))
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= MAX_NUMBERED:
        for (row, column), value in np.ndenumerate(share):
            if not np.isnan(value):
                colour = "white" if value > 0.55 else "#1c2430"
                text = f"{value:.2f}" if value >= 0.005 else "0"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true pixels")
    return figure


def _finish(figure: Figure) -> Figure:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dde3ea", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(colors=QUIET)
    figure.tight_layout()
    return figure
