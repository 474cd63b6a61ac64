"""Finds the state that a run goes on from: its own, its mirror's, or a given checkpoint's."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from components.train.config import TrainConfig, network_digest
from components.train.mirror import Mirror
from components.train.preparation import Job
from components.train.running_state import BEST, STATE, Progress, RunningState, load_state
from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.errors import ConfigError, ContractError
from segmentor.nn.checkpoint import CONFIG, CONTRACT, WEIGHTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The state to go on from, if any, and what to do after each save."""

    state: RunningState | None
    after_save: Callable[[bool], None] | None


def find_state(running: Path, job: Job) -> Found:
    """Looks in the running folder, then in the mirror, then in the checkpoint given by the user.

    A running folder of another configuration or other data is removed: it belongs to a run that
    was given up.

    Raises:
        ConfigError: the checkpoint has another network, or has no epochs left to do.
        ContractError: the checkpoint has no state, or other classes.
    """
    settings, fingerprint = job.config.training, job.fingerprint
    state = _own_state(running, fingerprint)
    mirror = None
    if settings.mirror:
        mirror = Mirror(settings.mirror, fingerprint, running, settings.mirror_minutes * 60)
        if state is None and mirror.download():
            state = _own_state(running, fingerprint)
    if state is not None:
        logger.info("resume kind=interrupted epoch=%d/%d", state.progress.epoch, state.epochs)
    elif job.resume is not None:
        state = _from_checkpoint(job.resume, running, job.config, job.train_set, job.val_set)
    (running / "logs").mkdir(parents=True, exist_ok=True)
    return Found(state, mirror.after_save if mirror else None)


def _own_state(running: Path, fingerprint: str) -> RunningState | None:
    """The state of an interrupted run of the same configuration and data."""
    try:
        state = load_state(running)
    except ContractError as error:
        logger.warning("resume kind=none reason=%s", error)
        state = None
    is_whole = state is not None and (state.progress.epoch == 0 or (running / BEST).is_file())
    if is_whole and state is not None and state.fingerprint == fingerprint:
        return state
    if state is not None:
        logger.warning(
            "resume kind=none reason=%r epoch_lost=%d",
            "what an interrupted run left is of other settings or data: it begins anew",
            state.progress.epoch,
        )
    shutil.rmtree(running, ignore_errors=True)
    return None


def _from_checkpoint(
    resume: Path, running: Path, config: TrainConfig, train_set: Dataset, val_set: Dataset
) -> RunningState:
    state = load_state(resume)
    files = (STATE, CONTRACT, CONFIG)
    if state is None or not all((resume / name).is_file() for name in files):
        raise ContractError(
            str(resume), f"not all of {', '.join(files)}", "a checkpoint artifact that train wrote"
        )
    contract = ModelContract.from_text((resume / CONTRACT).read_text("utf-8"), str(resume))
    if contract.label_map != train_set.label_map:
        raise ContractError(
            str(resume),
            f"classes {', '.join(contract.label_map.names)}",
            f"those of the data set: {', '.join(train_set.label_map.names)}",
        )
    if state.network_digest != network_digest(config):
        raise ConfigError(
            "--resume",
            f"a checkpoint of {state.architecture}",
            f"the configured network, {config.model.architecture} with {config.model.encoder}",
            "give the same model=... overrides as for the first run",
        )
    if state.progress.epoch >= config.training.epochs:
        raise ConfigError(
            "training.epochs",
            f"{config.training.epochs}, and the checkpoint has done {state.progress.epoch}",
            f"more than {state.progress.epoch}",
            f"set training.epochs={state.progress.epoch + 10}",
        )
    running.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(resume / WEIGHTS, running / BEST)
    if contract.provenance.get("val_dataset_digest") != val_set.digest:
        # Scores on other data cannot be compared: the next epoch is the best so far.
        done = state.progress
        state = replace(state, progress=Progress(epoch=done.epoch, history=done.history))
    if not _has_same_moments(resume, config.training.optimizer):
        logger.warning("optimizer is another than the checkpoint's: its moments begin anew")
        state = replace(state, optimizer={**state.optimizer, "state": {}})
    # Who asks for more epochs wants them trained, also where early stopping ended the last run.
    state = replace(state, progress=replace(state.progress, without_better=0))
    logger.info("resume kind=checkpoint epoch=%d/%d", state.progress.epoch, config.training.epochs)
    return state


def _has_same_moments(resume: Path, optimizer: str) -> bool:
    """Whether the checkpoint's optimizer kept what this one keeps; Adam and AdamW do the same."""
    config = yaml.safe_load((resume / CONFIG).read_text("utf-8"))
    before = config["training"]["optimizer"]
    return bool(before == optimizer or "sgd" not in (before, optimizer))
