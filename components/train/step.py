"""The work of the train step: inputs checked, the run found or begun, outputs written."""

import argparse
import contextlib
import json
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.cli import ArtifactMetadata, output_file, output_folder
from components.train.checks import choose_device
from components.train.compose import compose_config, split_overrides
from components.train.config import TrainConfig, to_train_config
from components.train.image_statistics import training_reference
from components.train.processes import first_decides, is_first, join_group, leave_group
from components.train.resume import Found, find_state
from components.train.running_state import STATE
from components.train.training import Places, Trained, train
from components.train.training_report import write_report
from segmentor import __version__
from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.digests import digest_json
from segmentor.errors import DataError
from segmentor.nn.checkpoint import Checkpoint, save_checkpoint
from segmentor.nn.deployable import Deployable, as_forward
from segmentor.thresholds import choose_threshold

logger = logging.getLogger(__name__)

# Set where the container image is built.
REVISION_VARIABLE = "SEGMENTOR_GIT_REVISION"
# These change how a run goes, not what comes out.
_WITHOUT_INFLUENCE = ("cache_bytes", "workers", "overlays", "mirror", "mirror_minutes")


def run(arguments: argparse.Namespace) -> ArtifactMetadata:
    """Runs the step from parsed arguments; returns the metadata of its outputs."""
    composed = compose_config(split_overrides(arguments.overrides, arguments.override))
    config = to_train_config(composed)
    train_set, val_set = Dataset(arguments.train), Dataset(arguments.val)
    check_data_sets(train_set, val_set)
    join_group(is_cpu=choose_device(config.training.device) == "cpu")
    try:
        return train_and_write(arguments, composed, config, train_set, val_set)
    finally:
        leave_group()


def train_and_write(
    arguments: argparse.Namespace,
    composed: dict[str, Any],
    config: TrainConfig,
    train_set: Dataset,
    val_set: Dataset,
) -> ArtifactMetadata:
    """Trains, and writes the outputs in the first of the processes that train together."""
    fingerprint = run_fingerprint(composed, train_set, val_set, arguments.resume)
    checkpoint = arguments.checkpoint.absolute()
    running = checkpoint.parent / f".{checkpoint.name}.running"
    found = Found(None, None)
    if is_first():
        found = find_state(running, config, fingerprint, arguments.resume, train_set, val_set)
    state = first_decides(lambda: found.state)
    started = time.monotonic()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=checkpoint.parent, prefix=".train-") as scratch:
        places = Places(running, running / "logs", Path(scratch))
        with _removed_if_nothing_was_reached(running):
            trained = train(
                config, train_set, val_set, places, fingerprint, state, found.after_save
            )
    if not is_first():
        return {}
    contract = make_contract(composed, trained, train_set, val_set)
    metrics = final_metrics(trained, time.monotonic() - started)
    with output_folder(arguments.checkpoint) as folder:
        save_checkpoint(
            folder, Checkpoint(trained.network, trained.network_config, contract, composed)
        )
        shutil.copyfile(running / STATE, folder / STATE)
    with output_file(arguments.training_report) as path:
        warnings = write_report(path, config, composed, trained, contract, val_set, metrics)
    with output_file(arguments.metrics) as path:
        path.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with output_folder(arguments.logs) as folder:
        shutil.copytree(running / "logs", folder, dirs_exist_ok=True)
    shutil.rmtree(running, ignore_errors=True)
    return {
        "checkpoint": checkpoint_metadata(contract, config),
        "metrics": metrics,
        "training_report": warnings,
    }


@contextlib.contextmanager
def _removed_if_nothing_was_reached(running: Path) -> Iterator[None]:
    """Leaves no running folder behind a refused configuration: there is nothing to go on from."""
    try:
        yield
    except BaseException:
        if is_first() and not (running / STATE).is_file():
            shutil.rmtree(running, ignore_errors=True)
        raise


def check_data_sets(train_set: Dataset, val_set: Dataset) -> None:
    """Refuses data sets that do not belong together.

    Raises:
        DataError: other classes, or the same images on both sides.
    """
    if train_set.label_map != val_set.label_map:
        raise DataError(
            "val data set",
            f"classes {', '.join(val_set.label_map.names)}",
            f"those of the train data set: {', '.join(train_set.label_map.names)}",
            "split one converted data set",
        )
    seen = {sample.image_digest for sample in train_set.samples}
    both = [sample.id for sample in val_set.samples if sample.image_digest in seen]
    if both:
        # Not an error: an overfitting check may do it on purpose.
        logger.warning(
            "val images that are in train too count=%d first=%s: val figures will be too good",
            len(both),
            both[0],
        )


def run_fingerprint(
    composed: dict[str, Any], train_set: Dataset, val_set: Dataset, resume: Path | None
) -> str:
    """The identity of a run: what decides its result."""
    training = {k: v for k, v in composed["training"].items() if k not in _WITHOUT_INFLUENCE}
    contents = resume / "contract.json" if resume is not None else None
    return digest_json(
        {
            "config": {**composed, "training": training},
            "train": train_set.digest,
            "val": val_set.digest,
            "resume": contents.read_text() if contents is not None and contents.is_file() else "",
            "version": __version__,
        }
    )


def make_contract(
    composed: dict[str, Any], trained: Trained, train_set: Dataset, val_set: Dataset
) -> ModelContract:
    """Makes the contract of the best epoch: flat provenance, the threshold chosen on val."""
    best = best_figures(trained)
    provenance: dict[str, Any] = {
        "tool_version": __version__,
        "train_dataset_digest": train_set.digest,
        "val_dataset_digest": val_set.digest,
        "config_digest": digest_json(composed),
        "best_epoch": trained.progress.best_epoch,
        "epochs": trained.progress.epoch,
        "precision": "bf16" if trained.bf16 else "fp32",
        "val_loss": best["valid/loss"],
        "val_iou": best["valid/iou"],
    }
    revision = os.environ.get(REVISION_VARIABLE)
    if revision:
        provenance["git_revision"] = revision
    provenance = {k: v for k, v in provenance.items() if v == v}  # JSON has no NaN
    contract = ModelContract(
        train_set.label_map,
        trained.input,
        provenance=provenance,
        training_reference=training_reference(train_set),
    )
    if not contract.is_binary:
        return contract
    forward = as_forward(Deployable(trained.network, contract))
    return replace(contract, threshold=choose_threshold(forward, contract, val_set))


def best_figures(trained: Trained) -> dict[str, float]:
    """The figures of the best epoch."""
    best = trained.progress.best_epoch
    return next(item for item in trained.progress.history if item["epoch"] == best)


def final_metrics(trained: Trained, seconds: float) -> dict[str, float]:
    """What the pipelines UI shows: the best epoch's figures, and how long it took."""
    best = best_figures(trained)
    samples = sum(count for count, _ in trained.timings)
    spent = sum(time for _, time in trained.timings)
    figures = {
        "val_iou": best["valid/iou"],
        "val_loss": best["valid/loss"],
        "train_iou": best["train/iou"],
        "train_loss": best["train/loss"],
        "best_epoch": float(trained.progress.best_epoch),
        "epochs": float(trained.progress.epoch),
        "elapsed_s": round(seconds, 1),
    }
    if spent > 0:
        figures["images_per_s"] = round(samples / spent, 1)
    return {name: value for name, value in figures.items() if value == value}


def checkpoint_metadata(
    contract: ModelContract, config: TrainConfig
) -> dict[str, str | int | float | bool]:
    """What the checkpoint artifact carries in the pipelines UI."""
    height, width = contract.input.size
    return {
        **contract.provenance,
        "architecture": config.model.architecture,
        "encoder": config.model.encoder,
        "input_size": f"{height}x{width}",
        "classes": ", ".join(contract.label_map.names),
        "python": platform.python_version(),
    }
