"""Finds the state that a run goes on from: its own, its mirror's, or a given checkpoint's."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from components.train.configuration.config import TrainConfig, network_digest
from components.train.configuration.preparation import Job
from components.train.state.mirror import Mirror
from components.train.state.running_state import BEST, STATE, Progress, RunningState, load_state
from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.errors import ConfigError, ContractError, StoreError
from segmentor.nn.checkpoint import CONFIG, CONTRACT, WEIGHTS
from segmentor.object_uri import ObjectUri
from segmentor.retrying import is_in_pod
from segmentor.training_mirror import mirror_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The state to continue from, if any, and the mirror that gets each save."""

    state: RunningState | None
    mirror: Mirror | None

    @property
    def after_save(self) -> Callable[[bool], None] | None:
        """What to do after each save."""
        return self.mirror.after_save if self.mirror else None


def find_state(running: Path, job: Job) -> Found:
    """Look in the running folder, then in the mirror, then in the checkpoint given by the user.

    A running folder of another configuration or other data is removed: that run was given up.

    Raises:
        ConfigError: the checkpoint has another network, or has no epochs left to do.
        ContractError: the checkpoint has no state, or other classes.
        StoreError: the mirror cannot be read: beginning anew could lose hours.
    """
    state = _own_state(running, job.fingerprint)
    mirror = _mirror(running, job)
    if mirror is not None and state is None and mirror.download():
        state = _own_state(running, job.fingerprint)
    if state is not None:
        logger.info("resume kind=interrupted epoch=%d/%d", state.progress.epoch, state.epochs)
    elif job.resume is not None:
        state = _from_checkpoint(job.resume, running, job.config, job.train_set, job.val_set)
    (running / "logs").mkdir(parents=True, exist_ok=True)
    return Found(state, mirror)


def _mirror(running: Path, job: Job) -> Mirror | None:
    """Return the mirror that the configuration names; in a pod there is one by default."""
    settings = job.config.training
    seconds = settings.mirror_minutes * 60
    if settings.mirror:
        key = mirror_key(job.fingerprint, job.cache_salt)
        return Mirror(ObjectUri.parse(settings.mirror).child(key), running, seconds)
    if not job.destination or not is_in_pod():
        return None
    try:
        return Mirror(job.folder, running, seconds)
    except StoreError as error:
        logger.warning("no mirror: a lost pod starts training from the beginning (%s)", error)
        return None


def _own_state(running: Path, fingerprint: str) -> RunningState | None:
    """Return the state of an interrupted run of the same configuration and data."""
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
            "an interrupted run had other settings or data: training starts from the beginning",
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
            f"start from its weights instead of resuming: model.weights={resume}",
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
        # Scores on other data are not comparable, so the next epoch becomes the best.
        done = state.progress
        state = replace(state, progress=Progress(epoch=done.epoch, history=done.history))
    if not _has_same_moments(resume, config.training.optimizer):
        logger.warning("the optimizer differs from the checkpoint's: its moments start from zero")
        state = replace(state, optimizer={**state.optimizer, "state": {}})
    # A user who asks for more epochs wants them, even if early stopping ended the last run.
    state = replace(state, progress=replace(state.progress, without_better=0))
    logger.info("resume kind=checkpoint epoch=%d/%d", state.progress.epoch, config.training.epochs)
    return state


def _has_same_moments(resume: Path, optimizer: str) -> bool:
    """Return True if the checkpoint's optimizer keeps the same state; Adam and AdamW do."""
    config = yaml.safe_load((resume / CONFIG).read_text("utf-8"))
    before = config["training"]["optimizer"]
    return bool(before == optimizer or "sgd" not in (before, optimizer))
