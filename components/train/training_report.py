"""The training report: curves, best epoch, overlays of validation images, configuration."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.train.configuration.compose import flat_items
from components.train.configuration.config import TrainConfig, TrainingSettings
from components.train.loading.samples import read_pair
from components.train.overlays import draw
from components.train.resolution import ADVICE
from components.train.state.running_state import Progress
from components.train.training import Trained
from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.inference import mask_at
from segmentor.masks import overlay_legend
from segmentor.nn.deployable import Deployable, as_forward
from segmentor.report import Report
from segmentor.tiling import tiled

SHOWN_IMAGES = 6

# Element ids of the SVG follow from this instead of from chance.
matplotlib.rcParams["svg.hashsalt"] = "segmentor"


def write_report(
    path: Path,
    config: TrainConfig,
    composed: dict[str, Any],
    trained: Trained,
    contract: ModelContract,
    val_set: Dataset,
    metrics: Mapping[str, float],
) -> dict[str, str]:
    """Write the page, and return the metadata of its artifact."""
    label_map = contract.label_map
    size = " x ".join(str(length) for length in contract.input.size)
    report = Report(
        "Training report",
        f"{config.model.architecture} with {config.model.encoder}, {size}, "
        f"classes {', '.join(label_map.names)}",
    )
    _add_result(report, config, trained, contract, metrics)
    report.section(
        "Validation images",
        "Truth first, then the prediction: side by side, or one above the other. Dark photographs "
        "are shown brighter."
        + (f" Drawn at the threshold {contract.threshold:.3g}." if contract.is_binary else ""),
    )
    report.legend(overlay_legend(label_map))
    report.pictures(sample_sheet(trained, contract, val_set))
    _add_classes(report, trained, contract)
    report.section("Provenance and environment")
    report.key_values([*sorted(contract.provenance.items()), *environment(trained)])
    report.section("Configuration")
    report.table(
        ["setting", "value"],
        [(name, json.dumps(value, ensure_ascii=False)) for name, value in flat_items(composed)],
    )
    path.write_text(report.html(), encoding="utf-8")
    return report.metadata()


def _add_result(
    report: Report,
    config: TrainConfig,
    trained: Trained,
    contract: ModelContract,
    metrics: Mapping[str, float],
) -> None:
    """The main figures, what to know before believing them, curves, and IoU by class."""
    progress, label_map = trained.progress, contract.label_map
    iou_name = f"IoU of {label_map.names[1]}" if label_map.is_binary else "mean IoU"
    measured_on = "its own training batch" if config.training.overfit_batches else "val"
    report.tiles(
        [
            (
                f"{iou_name} on {measured_on}",
                f"{metrics['val_iou']:.4f}" if "val_iou" in metrics else "n/a",
            ),
            ("best epoch", f"{progress.best_epoch} of {progress.epoch}"),
            ("images a second", metrics.get("images_per_s", float("nan"))),
            ("elapsed", f"{metrics['elapsed_s']:.0f} s"),
        ]
    )
    for kind, text in notices(trained, config):
        report.notice(text, kind)
    if contract.is_binary:
        report.paragraph(threshold_text(contract))
    report.section(
        "Curves",
        "Figures are at the network's resolution; evaluate measures at the source size. The "
        "dashed line is the best epoch, whose weights the checkpoint holds.",
    )
    report.chart(curves(progress.history, progress.best_epoch, iou_name))


def _add_classes(report: Report, trained: Trained, contract: ModelContract) -> None:
    progress, label_map = trained.progress, contract.label_map
    report.section("Classes in the best epoch")
    best = progress.history[progress.best_epoch - 1 - _first_epoch(trained)]
    report.table(
        ["class", "IoU on train", "IoU on val"],
        [
            [name, best.get(f"train/iou/{name}", "absent"), best.get(f"valid/iou/{name}", "absent")]
            for name in label_map.names
        ],
        decimals=4,
    )
    if trained.at_size:
        report.section(
            "Classes at the network's size",
            "What is left of the masks of train when they are scaled to the network's input. The "
            "reachable IoU is that of a network without any error there, at the source size.",
        )
        report.table(
            ["class", "pixels", "pixels left", "objects", "vanished", "reachable IoU"],
            [
                (c.name, c.pixels, c.pixels_left, c.objects, c.vanished, c.reachable_iou)
                for c in trained.at_size
            ],
            decimals=2,
        )


def threshold_text(contract: ModelContract) -> str:
    """Say which IoU belongs to which threshold: epochs are compared at 0.5, before it is chosen."""
    name, provenance = contract.label_map.names[1], contract.provenance
    text = (
        f"Threshold {contract.threshold:.3g}: a pixel is {name} where its probability is higher. "
    )
    if "val_iou_at_threshold" in provenance:
        text += (
            f"It was chosen on val, where the IoU at the source size is "
            f"{provenance['val_iou_at_threshold']:.4f} with it and "
            f"{provenance['val_iou_at_half']:.4f} with 0.5. "
        )
    return text + "Every other IoU on this page is at 0.5 and at the network's resolution."


def _first_epoch(trained: Trained) -> int:
    return int(trained.progress.history[0]["epoch"]) - 1


def notices(trained: Trained, config: TrainConfig) -> list[tuple[str, str]]:
    """Return what a reader should know before believing the figures."""
    history, progress = trained.progress.history, trained.progress
    best = history[progress.best_epoch - 1 - _first_epoch(trained)]
    found = []
    if config.training.overfit_batches:
        found.append(
            ("bad", "An overfitting check, not a model: trained on the first "
             f"{config.training.overfit_batches * config.training.batch_size} images of train at "
             "most, and measured on the same. \"val\" below means these.")
        )  # fmt: skip
    gap = best["train/iou"] - best["valid/iou"]
    if gap > 0.15:
        found.append(
            ("warning", f"IoU on train is {gap:.2f} above val: the network overfits. More images, "
             "stronger processing.augmentation or more training.weight_decay help.")
        )  # fmt: skip
    settings = config.training
    if settings.early_stopping and progress.epoch < settings.epochs:
        found.append(_early_stopping(progress, settings))
    is_last = progress.best_epoch == progress.epoch == settings.epochs
    if is_last and settings.scheduler in ("plateau", "none"):
        found.append(("warning", "The last epoch is the best: more epochs may help."))
    if best["valid/iou"] != best["valid/iou"]:
        found.append(
            ("bad", "The validation set has no true pixels at the network's size to measure an IoU "
             f"on: the best epoch, {progress.best_epoch}, was chosen by its loss.")
        )  # fmt: skip
    found += [
        ("warning", f"{item.describe(trained.input.size)}. Remedy: {ADVICE}.")
        for item in trained.at_size
        if item.is_poor
    ]
    lost = [name.rpartition("/")[2] for name, iou in best.items()
            if name.startswith("valid/iou/") and iou == 0]  # fmt: skip
    if lost:
        found.append(
            ("warning", f"Not one pixel of {', '.join(lost)} was found on val: IoU 0. More epochs, "
             "training.class_weights=balanced or a larger processing.size may help.")
        )  # fmt: skip
    return found


def _early_stopping(progress: Progress, settings: TrainingSettings) -> tuple[str, str]:
    """Warn if early stopping ended training before one_cycle lowered the learning rate."""
    waited, metric = progress.without_better, "IoU" if settings.metric == "iou" else "loss"
    text = (
        f"Early stopping ended it at epoch {progress.epoch} of {settings.epochs}: {waited} "
        f"epoch{'s' if waited != 1 else ''} without a better {metric} on val."
    )
    if settings.scheduler != "one_cycle":
        return "good", text
    return "warning", (
        f"{text} one_cycle lowers the learning rate in the last epochs, which is when val improves "
        "most: set training.scheduler=plateau or cosine with it, or training.early_stopping=0."
    )


def curves(history: list[dict[str, float]], best_epoch: int, iou_name: str) -> Figure:
    """Loss, IoU and learning rate over the epochs."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    epochs = [item["epoch"] for item in history]
    for axis, name, title in ((axes[0], "loss", "loss"), (axes[1], "iou", iou_name)):
        for loader, label in (("train", "train"), ("valid", "val")):
            axis.plot(epochs, [item[f"{loader}/{name}"] for item in history], label=label)
        axis.set_title(title)
        axis.legend(frameon=False)
    axes[1].set_ylim(0, 1)
    axes[2].plot(epochs, [item["learning_rate"] for item in history], color="tab:green")
    axes[2].set_title("learning rate at the epoch's end")
    axes[2].ticklabel_format(style="sci", axis="y", scilimits=(0, 0))
    for axis in axes:
        axis.axvline(best_epoch, color="0.6", linestyle="--", linewidth=1)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    return figure


def sample_sheet(
    trained: Trained, contract: ModelContract, val_set: Dataset
) -> list[tuple[str, np.ndarray]]:
    """Truth and prediction of evenly spaced validation images, by the deployable module."""
    forward = tiled(as_forward(Deployable(trained.network, contract)), contract)
    samples = val_set.samples
    count = min(SHOWN_IMAGES, len(samples))
    size = contract.input.size if contract.input.size_policy == "resize" else None
    pictures = []
    for index in np.linspace(0, len(samples) - 1, count).astype(int):
        image, truth = read_pair(val_set, samples[index], size, contract.input.white)
        prediction = mask_at(forward(image[None])[0], contract, truth.shape)
        pair = [draw(image, mask, contract.label_map) for mask in (truth, prediction)]
        height, width = pair[0].shape[:2]
        axis = 0 if width > height else 1  # wide pictures one above the other
        gap = np.full((6, width, 3) if axis == 0 else (height, 6, 3), 255, np.uint8)
        pictures.append((samples[index].id, np.concatenate([pair[0], gap, pair[1]], axis)))
    return pictures


def environment(trained: Trained) -> list[tuple[str, Any]]:
    """Return the machine and the versions that it ran on."""
    return [
        ("device", trained.device),
        ("threads", torch.get_num_threads()),
        ("processors", os.cpu_count() or 0),
        ("torch", torch.__version__),
        ("python", platform.python_version()),
    ]
