"""Callbacks that keep the run's state: after each epoch, and when the process is told to stop."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from components.cli import EXIT_TERMINATED
from components.train import catalyst_compat as compat
from components.train.configuration.config import TrainConfig, network_digest
from components.train.optimization import is_warming_up
from components.train.processes import settle_gradients
from components.train.run import Run
from components.train.state.running_state import PartialEpoch, Progress, RunningState, save_state

logger = logging.getLogger(__name__)


class KeepState(compat.Callback):  # type: ignore[misc]
    """After each epoch: history, best epoch, early stopping, state on disk, a line in the log.

    Its order is the last: the scheduler has stepped when the state is written.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(order=compat.CallbackOrder.External)
        self.run = run

    def on_experiment_start(self, runner: Any) -> None:
        """Load the state that the run continues from."""
        settle_gradients(runner.model, self.run.config.training.batch_size, self.run.spec.size)
        state = self.run.resumed
        if state is None:
            return
        runner.engine.unwrap_model(runner.model).load_state_dict(state.network)
        runner.optimizer.load_state_dict(state.optimizer)
        if self.run.scheduler is not None and state.scheduler is not None:
            self.run.scheduler.load_state_dict(state.scheduler)
        patience = self.run.config.training.early_stopping
        runner.need_early_stop = bool(patience) and state.progress.without_better >= patience
        runner.epoch_step = state.progress.epoch
        runner.batch_step = state.counters["batch_step"]
        runner.sample_step = state.counters["sample_step"]

    def on_epoch_end(self, runner: Any) -> None:
        """Take stock of the epoch."""
        figures = {
            f"{loader}/{name}": value
            for loader in ("train", "valid")
            for name, value in runner.epoch_metrics[loader].items()
            if name not in ("lr", "momentum")
        }
        figures["learning_rate"] = float(self.run.optimizer.param_groups[0]["lr"])
        is_early = is_warming_up(self.run.scheduler)
        progress, is_better = advance(runner.progress, figures, self.run.config, is_early)
        if not runner.progress.history and np.isnan(figures["valid/iou"]):
            logger.warning(
                "val has no true pixels at %d x %d, so no IoU can be measured: the loss chooses "
                "the best epoch",
                *self.run.spec.size,
            )
        runner.progress = progress
        if runner.engine.is_main_process:
            network = runner.engine.unwrap_model(runner.model)
            state = make_state(self.run, runner, network.state_dict())
            save_state(self.run.state_folder, state, state.network if is_better else None)
            if self.run.after_save is not None:
                self.run.after_save(False)
            self._log(figures, is_better)
        patience = self.run.config.training.early_stopping
        if patience and progress.without_better >= patience:
            logger.info("early_stopping epoch=%d best=%d", progress.epoch, progress.best_epoch)
            runner.need_early_stop = True

    def _log(self, figures: Mapping[str, float], is_better: bool) -> None:
        epoch, epochs = int(figures["epoch"]), self.run.config.training.epochs
        samples, seconds = self.run.timings[-1]
        spent = sum(item for _, item in self.run.timings) / len(self.run.timings)
        logger.info(
            "epoch=%d/%d train_loss=%.4f val_loss=%.4f val_iou=%.4f learning_rate=%.2g "
            "images_per_s=%.1f eta_s=%.0f%s",
            epoch,
            epochs,
            figures["train/loss"],
            figures["valid/loss"],
            figures["valid/iou"],
            figures["learning_rate"],
            samples / max(seconds, 1e-9),
            spent * (epochs - epoch),
            " best=yes" if is_better else "",
        )


class StopOnSignal(compat.Callback):  # type: ignore[misc]
    """Ends the process after a batch when SIGTERM has come: a pod is about to be removed.

    The epoch so far is saved, so that the next process goes on with the next batch; a validation
    begins anew. In the middle of an optimizer's step the weights would be half old, half new.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(order=compat.CallbackOrder.External)
        self.run = run

    def on_batch_end(self, runner: Any) -> None:
        """Save and leave, if it is time to."""
        if not self.run.is_stopping:
            return
        if runner.engine.is_main_process and runner.engine.num_processes == 1:
            position: Position = runner.position()
            network = runner.engine.unwrap_model(runner.model)
            state = make_state(self.run, runner, network.state_dict(), position)
            save_state(self.run.state_folder, state, None)
            logger.info(
                "stopped epoch=%d batch=%d: the same command goes on from here",
                runner.epoch_step,
                position.partial.batches,
            )
        if runner.engine.is_main_process and self.run.after_save is not None:
            self.run.after_save(True)
        raise SystemExit(EXIT_TERMINATED)


@dataclass(frozen=True)
class Position:
    """Where within an epoch its training is, and the steps of the whole run until there."""

    partial: PartialEpoch
    counters: dict[str, int]


def make_state(
    run: Run, runner: Any, weights: dict[str, Tensor], position: Position | None = None
) -> RunningState:
    """Collect what a run needs to go on: after an epoch, or from a position within one."""
    scheduler = run.scheduler
    counters = {"batch_step": runner.batch_step, "sample_step": runner.sample_step}
    return RunningState(
        fingerprint=run.fingerprint,
        epochs=run.config.training.epochs,
        bf16=run.bf16,
        architecture=run.config.model.architecture,
        network_digest=network_digest(run.config),
        progress=runner.progress,
        counters=counters if position is None else position.counters,
        network=weights,
        optimizer=run.optimizer.state_dict(),
        scheduler=None if scheduler is None else scheduler.state_dict(),
        partial=None if position is None else position.partial,
    )


def advance(
    progress: Progress, figures: dict[str, float], config: TrainConfig, is_warming_up: bool = False
) -> tuple[Progress, bool]:
    """Add an epoch; say whether it is the best so far.

    Where the validation set has no true pixels, its IoU is undefined and its loss decides. Epochs
    of the warm-up do not count for early stopping.
    """
    epoch = progress.epoch + 1
    figures["epoch"] = epoch
    score = figures[f"valid/{config.training.metric}"]
    is_better = progress.best_epoch == 0 or _is_better(progress, figures, config.training.metric)
    return (
        replace(
            progress,
            epoch=epoch,
            best_epoch=epoch if is_better else progress.best_epoch,
            best_score=score if is_better else progress.best_score,
            without_better=0 if is_better or is_warming_up else progress.without_better + 1,
            history=[*progress.history, figures],
        ),
        is_better,
    )


def _is_better(progress: Progress, figures: Mapping[str, float], metric: str) -> bool:
    if metric == "iou":
        score, best = figures["valid/iou"], progress.best_score
        if not (np.isnan(score) and np.isnan(best)):
            return bool(score > best) or bool(np.isnan(best))
    loss = figures["valid/loss"]
    earlier = [item for item in progress.history if item["epoch"] == progress.best_epoch]
    losses = [item["valid/loss"] for item in earlier]
    return bool(all(loss < item or (np.isnan(item) and not np.isnan(loss)) for item in losses))
