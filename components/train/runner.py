"""The training loop: a Catalyst runner with our loss, counts, state and TensorBoard images."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from components.train import catalyst_compat as compat
from components.train.config import TrainConfig, network_digest
from components.train.losses import SegmentationLoss
from components.train.metrics import Counts, predict_indices
from components.train.optimization import is_stepped_per_batch
from components.train.running_state import Progress, RunningState, save_state
from components.train.samples import EpochSampler
from segmentor.errors import TrainingError
from segmentor.label_map import LabelMap
from segmentor.masks import overlay

logger = logging.getLogger(__name__)

LARGEST_LOSS = 1e6


@dataclass
class Run:
    """What the loop works with; everything is built before it starts."""

    config: TrainConfig
    label_map: LabelMap
    network: nn.Module
    loss: SegmentationLoss
    optimizer: torch.optim.Optimizer
    scheduler: Any | None
    loaders: dict[str, DataLoader[Any]]
    sampler: EpochSampler
    sample_ids: Mapping[str, list[str]]
    engine: Any
    bf16: bool
    fingerprint: str
    state_folder: Path
    logs: Path
    resumed: RunningState | None = None
    after_save: Callable[[], None] | None = None
    timings: list[tuple[int, float]] = field(default_factory=list)


class SegmentationRunner(compat.IRunner):  # type: ignore[misc]
    """One experiment: epochs of a training and a validation loader."""

    def __init__(self, run: Run) -> None:
        super().__init__(model=run.network, engine=run.engine)
        self.job = run
        self.progress = run.resumed.progress if run.resumed else Progress()
        spec = run.config.processing
        self._mean = torch.tensor(spec.mean).view(1, 3, 1, 1) * 255  # (1, 3, 1, 1)
        self._std = torch.tensor(spec.std).view(1, 3, 1, 1) * 255
        self._counts: Counts | None = None

    # What Catalyst asks for at the start.
    @property
    def seed(self) -> int:
        """Of the generators, which Catalyst sets anew before each loader of each epoch."""
        return self.job.config.seed

    @property
    def num_epochs(self) -> int:
        """Epochs in all, those before a resume included."""
        return self.job.config.training.epochs

    def get_engine(self) -> Any:
        """The engine: device and processes."""
        return self.job.engine

    def get_loaders(self) -> dict[str, DataLoader[Any]]:
        """The training loader, then the validation loader."""
        return self.job.loaders

    def get_model(self) -> nn.Module:
        """The network."""
        return self.job.network

    def get_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer, of the parameters of the network before it was wrapped."""
        return self.job.optimizer

    def get_scheduler(self, optimizer: Any) -> Any | None:
        """The scheduler, or None."""
        return self.job.scheduler

    def get_loggers(self) -> dict[str, Any]:
        """TensorBoard alone: Catalyst's console logger prints."""
        return {"tensorboard": compat.tensorboard_logger(str(self.job.logs))}

    def get_callbacks(self) -> dict[str, Any]:
        """Backward, step, schedule, then our own bookkeeping."""
        training = self.job.config.training
        callbacks = {
            "backward": compat.Backward(training.gradient_clip),
            "optimizer": compat.optimizer_callback(),
            "keep": KeepState(self.job),
        }
        if self.job.scheduler is not None:
            callbacks["scheduler"] = compat.scheduler_callback(
                self.job.scheduler, is_stepped_per_batch(training), training.metric
            )
        return callbacks

    # What happens at each level.
    def on_epoch_start(self, runner: Any) -> None:
        """Draws the epoch's order of samples."""
        super().on_epoch_start(runner)
        self.job.sampler.start(self.epoch_step)
        self._started = time.monotonic()

    def on_loader_start(self, runner: Any) -> None:
        """Starts counting."""
        super().on_loader_start(runner)
        self._counts = Counts(self.job.label_map, self.engine.device)

    def handle_batch(self, batch: dict[str, Tensor]) -> None:
        """Forward pass and loss of one batch; the callbacks do the rest."""
        device = self.engine.device
        image = batch["image"].to(device).float()  # (N, 3, h, w), 0..255
        pixels = (image - self._mean.to(device)) / self._std.to(device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        # DDP's collectives would wait for a process that has fewer validation batches.
        network = self.model if self.is_train_loader else self.engine.unwrap_model(self.model)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.job.bf16):
            logits = network(pixels)
        logits = logits.float()  # (N, C, h, w); the loss loses digits in bfloat16
        mask = batch["mask"].to(device)
        loss = self.job.loss(logits, mask)
        self._check(loss, batch["index"])
        self.batch_metrics["loss"] = loss if self.is_train_loader else loss.detach()
        assert self._counts is not None
        self._counts.add(loss, logits, mask)
        if self.is_valid_loader and self.engine.is_main_process:
            self._draw(batch, logits)

    def on_loader_end(self, runner: Any) -> None:
        """Reduces the counts to the loader's figures."""
        assert self._counts is not None
        self.loader_metrics.update(self._counts.compute())
        if self.is_train_loader:
            samples = self.loader_sample_step
            self.job.timings.append((samples, time.monotonic() - self._started))
        super().on_loader_end(runner)

    def _check(self, loss: Tensor, index: Tensor) -> None:
        value = float(loss.detach())
        if np.isfinite(value) and value < LARGEST_LOSS:
            return
        ids = [self.job.sample_ids[self.loader_key][int(item)] for item in index]
        raise TrainingError(
            f"epoch {self.epoch_step}, batch {self.loader_batch_step} of {self.loader_key}",
            f"loss {value} on samples {', '.join(ids)}",
            "a finite loss",
            "lower training.learning_rate, set training.precision=fp32, or look at these samples",
        )

    def _draw(self, batch: dict[str, Tensor], logits: Tensor) -> None:
        """Logs predictions of the first validation images for TensorBoard."""
        wanted = self.job.config.training.overlays
        if int(batch["index"].min()) >= wanted:
            return
        predictions = predict_indices(logits).to(torch.uint8).cpu().numpy()
        images = batch["image"].permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()
        for index, image, prediction in zip(
            batch["index"].tolist(), images, predictions, strict=True
        ):
            if index < wanted:
                self.log_image(
                    tag=f"prediction/{self.job.sample_ids['valid'][index]}",
                    image=draw(image, prediction, self.job.label_map),
                    scope="loader",
                )


def draw(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], label_map: LabelMap
) -> NDArray[np.uint8]:
    """Overlays a mask: RGB uint8 (h, w, 3)."""
    return overlay(np.ascontiguousarray(image), np.ascontiguousarray(mask), label_map)


class KeepState(compat.Callback):  # type: ignore[misc]
    """After each epoch: history, best epoch, early stopping, state on disk, a line in the log.

    Its order is the last: the scheduler has stepped when the state is written.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(order=compat.CallbackOrder.External)
        self.run = run

    def on_experiment_start(self, runner: SegmentationRunner) -> None:
        """Loads the state that the run continues from."""
        state = self.run.resumed
        if state is None:
            return
        runner.engine.unwrap_model(runner.model).load_state_dict(state.network)
        runner.optimizer.load_state_dict(state.optimizer)
        if self.run.scheduler is not None and state.scheduler is not None:
            self.run.scheduler.load_state_dict(state.scheduler)
        runner.epoch_step = state.progress.epoch
        runner.batch_step = state.counters["batch_step"]
        runner.sample_step = state.counters["sample_step"]

    def on_epoch_end(self, runner: SegmentationRunner) -> None:
        """Takes stock of the epoch."""
        figures = {
            f"{loader}/{name}": value
            for loader in ("train", "valid")
            for name, value in runner.epoch_metrics[loader].items()
            if name not in ("lr", "momentum")
        }
        figures["learning_rate"] = float(self.run.optimizer.param_groups[0]["lr"])
        progress, is_better = advance(runner.progress, figures, self.run.config)
        runner.progress = progress
        if runner.engine.is_main_process:
            network = runner.engine.unwrap_model(runner.model)
            self._save(runner, network.state_dict(), is_better)
        self._log(figures, is_better)
        patience = self.run.config.training.early_stopping
        if patience and progress.without_better >= patience:
            logger.info("early_stopping epoch=%d best=%d", progress.epoch, progress.best_epoch)
            runner.need_early_stop = True

    def _save(
        self, runner: SegmentationRunner, weights: dict[str, Tensor], is_better: bool
    ) -> None:
        scheduler = self.run.scheduler
        state = RunningState(
            fingerprint=self.run.fingerprint,
            epochs=self.run.config.training.epochs,
            bf16=self.run.bf16,
            architecture=self.run.config.model.architecture,
            network_digest=network_digest(self.run.config),
            progress=runner.progress,
            counters={"batch_step": runner.batch_step, "sample_step": runner.sample_step},
            network=weights,
            optimizer=self.run.optimizer.state_dict(),
            scheduler=None if scheduler is None else scheduler.state_dict(),
        )
        save_state(self.run.state_folder, state, weights if is_better else None)
        if self.run.after_save is not None:
            self.run.after_save()

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


def advance(
    progress: Progress, figures: dict[str, float], config: TrainConfig
) -> tuple[Progress, bool]:
    """Adds an epoch; says whether it is the best so far.

    A validation IoU that is undefined (no truth, no prediction) is never the best but the first.
    """
    epoch = progress.epoch + 1
    figures["epoch"] = epoch
    score = figures[f"valid/{config.training.metric}"]
    signed = score if config.training.metric == "iou" else -score
    best = progress.best_score if config.training.metric == "iou" else -progress.best_score
    is_better = progress.best_epoch == 0 or bool(signed > best)
    is_better = is_better or (bool(np.isnan(best)) and not np.isnan(signed))
    return (
        replace(
            progress,
            epoch=epoch,
            best_epoch=epoch if is_better else progress.best_epoch,
            best_score=score if is_better else progress.best_score,
            without_better=0 if is_better else progress.without_better + 1,
            history=[*progress.history, figures],
        ),
        is_better,
    )
