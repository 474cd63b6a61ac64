"""A search: Optuna chooses the values of each training by how the ones before it ended.

<output>/study.journal is Optuna's record of it, from which the same command continues.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from tensorboard.backend.event_processing.directory_watcher import DirectoryDeletedError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from components.train.configuration.compose import compose_config
from components.train.configuration.config import TrainConfig, to_train_config
from components.train.multirun.one_training import (
    CHECKPOINT,
    LOG,
    LOGS,
    Result,
    claim,
    finished,
    log_result,
    train_one,
)
from components.train.multirun.values import Values, read_values
from segmentor.dataset import Dataset
from segmentor.errors import ConfigError

logger = logging.getLogger(__name__)

STUDY = "study.journal"
_PLAN, _ERROR = "plan", "error"
_IOU = "iou/epoch"


def search(
    train: Path, val: Path, output: Path, overrides: Sequence[str], trials: int
) -> list[Result]:
    """Train as many times as asked, with values that promise a better IoU on val.

    The same command again continues; with more trials it searches further. The values of a trial
    follow from its number and the results before it.

    Raises:
        ConfigError: overrides that cannot be read, or vary nothing, or a value that makes no valid
            configuration; or the folder holds another multirun.
    """
    values = read_values(overrides)
    space = {item.key: _distribution(item) for item in values if item.vary}
    config = _check(values)
    digests = {"train": Dataset(train).digest, "val": Dataset(val).digest}
    study = _open_study(output, {"overrides": list(overrides), **digests})
    fixed = [item.overrides[0] for item in values if not item.vary]
    results = [_result(trial, output) for trial in study.trials if trial.state.is_finished()]
    for trial in _trials(study, space, trials, config.training.epochs):
        folder = output / f"{trial.number:02d}"
        chosen = _overrides(trial.params)
        claim(folder, {"overrides": [*fixed, *chosen], **digests})
        logger.info(
            "trial %d/%d %s log=%s", trial.number + 1, trials, " ".join(chosen), folder / LOG
        )
        watched = _Watched(study, trial, folder)
        ended = train_one(
            folder, [*fixed, *chosen], chosen, (train, val), is_hopeless=watched.is_hopeless
        )
        results.append(_result(watched.tell(ended), output))
        log_result(results[-1])
    return results


def _distribution(values: Values) -> BaseDistribution:
    """Return what Optuna draws from: the numbers of an interval, or one of the values."""
    interval = values.interval
    if interval is None:
        return CategoricalDistribution([text.partition("=")[2] for text in values.overrides])
    start, end, is_log = interval.start, interval.end, "log" in interval.tags
    assert start is not None  # Hydra's parser asks for both
    assert end is not None
    try:
        if isinstance(start, int) and isinstance(end, int):
            return IntDistribution(start, end, log=is_log)
        return FloatDistribution(start, end, log=is_log)
    except ValueError as error:
        raise ConfigError(
            values.key, f"{start} to {end} ({error})", "an interval from low to high"
        ) from error


def _check(values: Sequence[Values]) -> TrainConfig:
    """Try every value beside the first of each other key; return the first configuration."""
    first = [item.overrides[0] for item in values]
    for index, item in enumerate(values):
        for text in item.overrides[1:]:
            to_train_config(compose_config([*first[:index], text, *first[index + 1 :]]))
    return to_train_config(compose_config(first))


def _open_study(output: Path, plan: dict[str, Any]) -> optuna.Study:
    """Create the study of this folder, or read it.

    Raises:
        ConfigError: it is of other overrides or data.
    """
    # Its lines would repeat ours, and its warnings are for those who write objectives.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("tensorboard").setLevel(logging.WARNING)  # a line for each file it reads
    output.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(output / STUDY)))
    study = optuna.create_study(
        storage=storage, study_name="search", direction="maximize", load_if_exists=True
    )
    if study.user_attrs.get(_PLAN, plan) != plan:
        raise ConfigError(
            str(output), "a search of other overrides or data", "an empty folder",
            "give another --output",
        )  # fmt: skip
    study.set_user_attr(_PLAN, plan)
    return study


def _trials(
    study: optuna.Study, space: dict[str, BaseDistribution], trials: int, epochs: int
) -> Iterator[optuna.Trial]:
    """Yield the trials to train: those that were broken off, then new ones."""
    # Few trials are all that there is to compare with. one_cycle's rate rises during the first
    # third of the epochs, when no IoU says much yet.
    study.pruner = optuna.pruners.MedianPruner(
        n_startup_trials=max(1, min(5, trials // 4)), n_warmup_steps=epochs // 3
    )
    for broken in study.get_trials(states=(TrialState.RUNNING,)):
        yield _with_values(study, space, broken)
    while (number := len(study.trials)) < trials:
        study.sampler = _sampler(number)
        yield study.ask(space)


def _with_values(
    study: optuna.Study, space: dict[str, BaseDistribution], broken: FrozenTrial
) -> optuna.Trial:
    """Take up a trial that was broken off; it keeps the values it has, as `ask` gave them."""
    study.sampler = _sampler(broken.number)
    trial = optuna.Trial(study, broken._trial_id)
    for name, distribution in space.items():
        trial._suggest(name, distribution)
    return trial


def _sampler(number: int) -> optuna.samplers.TPESampler:
    """Return the sampler of a trial: one for all would begin its draws anew when continued."""
    return optuna.samplers.TPESampler(seed=number)


def _overrides(params: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in params.items())


class _Watched:
    """A trial whose training is followed by its TensorBoard events, epoch by epoch."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, folder: Path) -> None:
        self._study, self._trial, self._folder = study, trial, folder
        self._running = folder / f".{CHECKPOINT}.running"  # where the step keeps its state
        self._events = EventAccumulator(str(self._running / LOGS / "valid"))
        self._reported = set(study.trials[trial.number].intermediate_values)

    def is_hopeless(self) -> bool:
        """Report the epochs since the last look; say if one is below the others' median."""
        return any(self._trial.should_prune() for _ in self._report(self._events))

    def tell(self, ended: Result | None) -> FrozenTrial:
        """Tell the study how the training ended."""
        if ended is not None and "val_iou" in ended.metrics:
            list(self._report(EventAccumulator(str(self._folder / LOGS / "valid"))))
            return self._study.tell(self._trial, ended.metrics["val_iou"], skip_if_finished=True)
        if ended is not None:
            error = ended.error or "no true pixels in val, so no IoU to compare by"
            self._trial.set_user_attr(_ERROR, error)
        # Optuna forgets trials that failed, and would try their like again; pruned ones are the
        # worst of all to it.
        told = self._study.tell(self._trial, state=TrialState.PRUNED, skip_if_finished=True)
        if ended is None:
            self._keep_events()
        return told

    def _report(self, events: EventAccumulator) -> Iterator[None]:
        if not Path(events.path).is_dir():
            return
        try:
            events.Reload()
        except (OSError, DirectoryDeletedError):  # the training has ended and moved them
            return
        if _IOU not in events.Tags()["scalars"]:
            return
        for event in events.Scalars(_IOU):
            if event.step not in self._reported:
                self._reported.add(event.step)
                self._trial.report(event.value, event.step)
                yield

    def _keep_events(self) -> None:
        """Move the events of a pruned training to where a finished one has them."""
        if (self._running / LOGS).is_dir():
            shutil.copytree(self._running / LOGS, self._folder / LOGS, dirs_exist_ok=True)
        shutil.rmtree(self._running, ignore_errors=True)


def _result(trial: FrozenTrial, output: Path) -> Result:
    """Read a finished trial back."""
    folder, varied = output / f"{trial.number:02d}", _overrides(trial.params)
    if error := trial.user_attrs.get(_ERROR, ""):
        return Result(folder, varied, {}, error)
    if trial.state == TrialState.COMPLETE:
        return finished(folder, varied)
    seen = trial.intermediate_values
    figures = {"val_iou": max(seen.values()), "epochs": float(max(seen))}
    return Result(folder, varied, figures, pruned_after=max(seen))
