"""The work of the train step: the run found or begun, the network trained, outputs written."""

import argparse
import contextlib
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.cli import ArtifactMetadata, output_file, output_folder
from components.train.configuration.config import TrainConfig
from components.train.configuration.preparation import Job
from components.train.image_statistics import training_reference
from components.train.machine import choose_device
from components.train.processes import first_decides, in_group, is_first, rank
from components.train.state.resume import Found, find_state
from components.train.state.running_state import STATE
from components.train.training import Places, Trained, train
from components.train.training_report import write_report
from segmentor import __version__
from segmentor.contract import ModelContract
from segmentor.digests import digest_json
from segmentor.nn.checkpoint import Checkpoint, checkpoint_digest, save_checkpoint
from segmentor.nn.deployable import Deployable, as_forward
from segmentor.thresholds import choose_threshold
from segmentor.tiling import tiled

logger = logging.getLogger(__name__)

# Set where the container image is built.
REVISION_VARIABLE = "SEGMENTOR_GIT_REVISION"


def run(arguments: argparse.Namespace, job: Job) -> ArtifactMetadata:
    """Train what was prepared, and write the outputs; return their metadata."""
    device = choose_device(job.config.training.device)
    with in_group(is_cpu=device == "cpu"):
        return train_and_write(arguments, job)


def train_and_write(arguments: argparse.Namespace, job: Job) -> ArtifactMetadata:
    """Train, and write the outputs in the first of the processes that train together."""
    config, composed, val_set = job.config, job.composed, job.val_set
    checkpoint = arguments.checkpoint.absolute()
    running = checkpoint.parent / f".{checkpoint.name}.running"
    found = Found(None, None)
    if is_first():
        found = find_state(running, job)
    state = first_decides(lambda: found.state)
    started = time.monotonic()
    with _removed_if_nothing_was_reached(running), scratch_folder(running) as scratch:
        places = Places(running, running / "logs", scratch)
        trained = train(
            config, job.train_set, val_set, places, job.fingerprint, state, found.after_save
        )
    if not is_first():
        return {}
    contract = make_contract(job, trained)
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
    if found.mirror is not None:
        found.mirror.finish(checkpoint_digest(arguments.checkpoint))
    shutil.rmtree(running, ignore_errors=True)
    return {
        "checkpoint": checkpoint_metadata(contract, config),
        "metrics": metrics,
        "training_report": warnings,
    }


@contextlib.contextmanager
def _removed_if_nothing_was_reached(running: Path) -> Iterator[None]:
    """Leave no running folder behind a refused configuration: there is nothing to go on from."""
    try:
        yield
    except BaseException:
        if is_first() and not (running / STATE).is_file():
            shutil.rmtree(running, ignore_errors=True)
        raise


@contextlib.contextmanager
def scratch_folder(running: Path) -> Iterator[Path]:
    """Yield an empty folder of this process inside the running one.

    What a killed process has left there, such as its cache of images, goes with the next start.
    """
    folder = running / "scratch" / str(rank())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others may still have theirs, the first its state
            folder.parent.rmdir()
            running.rmdir()


def make_contract(job: Job, trained: Trained) -> ModelContract:
    """Make the contract of the best epoch: flat provenance, the threshold chosen on val."""
    train_set, val_set = job.train_set, job.val_set
    best = best_figures(trained)
    validated: dict[str, Any] = {
        "val_dataset_digest": val_set.digest,
        "val_loss": best["valid/loss"],
        "val_iou": best["valid/iou"],
    }
    if job.config.training.overfit_batches:  # measured on what it was trained on
        validated = {"overfit_batches": job.config.training.overfit_batches}
    provenance: dict[str, Any] = {
        "tool_version": __version__,
        "train_dataset_digest": train_set.digest,
        "train_images": len(train_set),
        "train_groups": train_set.manifest["groups"],
        **validated,
        "config_digest": digest_json(job.composed),
        "best_epoch": trained.progress.best_epoch,
        "epochs": trained.progress.epoch,
        "precision": "bf16" if trained.bf16 else "fp32",
    }
    if job.weights_digest:
        provenance["encoder_weights_digest"] = job.weights_digest
    revision = os.environ.get(REVISION_VARIABLE)
    if revision:
        provenance["git_revision"] = revision
    provenance = {k: v for k, v in provenance.items() if v == v}  # JSON has no NaN
    contract = ModelContract(
        train_set.label_map,
        trained.input,
        provenance=provenance,
        training_reference=training_reference(train_set, trained.input.white),
    )
    if not contract.is_binary:
        return contract
    forward = tiled(as_forward(Deployable(trained.network, contract)), contract)
    chosen = choose_threshold(forward, contract, val_set)
    if not job.config.training.overfit_batches:
        at = {"val_iou_at_threshold": chosen.iou, "val_iou_at_half": chosen.iou_at_half}
        provenance |= {name: iou for name, iou in at.items() if iou == iou}
    return replace(contract, threshold=chosen.threshold, provenance=provenance)


def best_figures(trained: Trained) -> dict[str, float]:
    """Return the figures of the best epoch."""
    best = trained.progress.best_epoch
    return next(item for item in trained.progress.history if item["epoch"] == best)


def final_metrics(trained: Trained, seconds: float) -> dict[str, float]:
    """Return what the pipelines UI shows: the best epoch's figures, and how long it took."""
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
    """Return what the checkpoint artifact carries in the pipelines UI."""
    height, width = contract.input.size
    return {
        **contract.provenance,
        "architecture": config.model.architecture,
        "encoder": config.model.encoder,
        "input_size": f"{height}x{width}",
        "classes": ", ".join(contract.label_map.names),
        "python": platform.python_version(),
    }
