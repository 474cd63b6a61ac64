"""The training loop: a Catalyst runner with our loss, counts, state and TensorBoard images."""

import logging
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from components.train import catalyst_compat as compat
from components.train.metrics import Counts, predict_indices
from components.train.optimization import is_stepped_per_batch
from components.train.overlays import draw
from components.train.processes import share_buffers
from components.train.run import Run
from components.train.show_progress import ShowProgress
from components.train.state.keep_state import KeepState, Position, StopOnSignal
from components.train.state.running_state import (
    PartialEpoch,
    Progress,
    get_generators,
    set_generators,
)
from segmentor.contract import ModelContract
from segmentor.errors import TrainingError
from segmentor.tiling import is_tiled, tiled

logger = logging.getLogger(__name__)

LARGEST_LOSS = 1e6


class SegmentationRunner(compat.IRunner):  # type: ignore[misc]
    """One experiment: epochs of a training and a validation loader."""

    def __init__(self, run: Run) -> None:
        super().__init__(model=run.network, engine=run.engine)
        self.job = run
        self.progress = run.resumed.progress if run.resumed else Progress()
        self._mean = torch.tensor(run.spec.mean).view(1, 3, 1, 1) * 255  # (1, 3, 1, 1)
        self._std = torch.tensor(run.spec.std).view(1, 3, 1, 1) * 255
        self._contract = ModelContract(run.label_map, run.spec)
        self.counts: Counts | None = None
        self.resumes_at = run.resumed.partial if run.resumed else None
        self._trained: Position | None = None

    # What Catalyst asks for at the start.
    @property
    def seed(self) -> int:
        """Return the seed of the generators, which Catalyst sets before each loader of an epoch."""
        return self.job.config.seed

    @property
    def hparams(self) -> dict[str, Any]:
        """The configuration, for TensorBoard."""
        return asdict(self.job.config)

    @property
    def num_epochs(self) -> int:
        """Epochs in all, those before a resume included."""
        return self.job.config.training.epochs

    def get_engine(self) -> Any:
        """Return the engine: device and processes."""
        return self.job.engine

    def get_loaders(self) -> dict[str, DataLoader[Any]]:
        """Return the training loader, then the validation loader."""
        return self.job.loaders

    def get_model(self) -> nn.Module:
        """Return the network."""
        return self.job.network

    def get_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer, of the parameters of the network before it was wrapped."""
        return self.job.optimizer

    def get_scheduler(self, optimizer: Any) -> Any | None:
        """Return the scheduler, or None."""
        return self.job.scheduler

    def get_loggers(self) -> dict[str, Any]:
        """TensorBoard alone: Catalyst's console logger prints."""
        return {"tensorboard": compat.TensorBoard(str(self.job.logs))}

    def get_callbacks(self) -> dict[str, Any]:
        """Backward, step, schedule, then our own bookkeeping."""
        training = self.job.config.training
        callbacks = {
            "backward": compat.Backward(training.gradient_clip),
            "optimizer": compat.optimizer_callback(),
            "keep": KeepState(self.job),
            "show": ShowProgress(),
            "stop": StopOnSignal(self.job),
        }
        if self.job.scheduler is not None:
            callbacks["scheduler"] = compat.scheduler_callback(
                self.job.scheduler, is_stepped_per_batch(training), training.metric
            )
        return callbacks

    # What happens at each level.
    def on_epoch_start(self, runner: Any) -> None:
        """Draw the epoch's order of samples; an epoch that was broken off goes on there."""
        super().on_epoch_start(runner)
        done = self.resumes_at.batches if self.resumes_at else 0
        loader = self.job.loaders["train"]
        self.job.sampler.start(self.epoch_step, done * (loader.batch_size or 1))
        self._started = time.monotonic()

    def on_loader_start(self, runner: Any) -> None:
        """Start counting, or continue."""
        super().on_loader_start(runner)
        if self.is_valid_loader:
            share_buffers(self.engine.unwrap_model(self.model))
        self.counts = Counts(self.job.label_map, self.engine.device)
        if self.resumes_at is not None:
            self.counts.add_state(self.resumes_at.confusion, self.resumes_at.loss)
            self.loader_batch_step = self.resumes_at.batches

    def on_batch_start(self, runner: Any) -> None:
        """Set the generators back to where a broken epoch was left."""
        super().on_batch_start(runner)
        if self.resumes_at is not None:
            set_generators(self.resumes_at.generators)
            self.resumes_at = None

    def handle_batch(self, batch: dict[str, Tensor]) -> None:
        """Forward pass and loss of one batch; the callbacks do the rest."""
        device, image = self.engine.device, batch["image"]
        if self.is_valid_loader and is_tiled(self._contract, (image.shape[2], image.shape[3])):
            found = tiled(self._tile_logits, self._contract)(image.permute(0, 2, 3, 1).numpy())
            logits = torch.from_numpy(found).to(device)
        else:
            logits = self._logits(image)
        mask = batch["mask"].to(device)
        loss = self.job.loss(logits, mask)
        self._check(loss, batch["index"])
        self.batch_metrics["loss"] = loss if self.is_train_loader else loss.detach()
        assert self.counts is not None
        self.counts.add(loss, logits, mask)
        if self.is_valid_loader and self.engine.is_main_process:
            self._draw(batch, logits)

    def _logits(self, image: Tensor) -> Tensor:
        """Uint8 (N, 3, h, w) -> float32 (N, C, h, w)."""
        device = self.engine.device
        pixels = (image.to(device).float() - self._mean.to(device)) / self._std.to(device)
        pixels = pixels.contiguous(memory_format=self.job.memory_format)
        # DDP's collectives would wait for a process that has fewer validation batches.
        network = self.model if self.is_train_loader else self.engine.unwrap_model(self.model)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.job.bf16):
            logits: Tensor = network(pixels)
        return logits.float()  # the loss loses digits in bfloat16

    def _tile_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run a tile of an image too large for one pass: uint8 (N, h, w, 3) -> (N, C, h, w)."""
        tile = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        logits: NDArray[np.float32] = self._logits(tile).cpu().numpy()
        return logits

    def position(self) -> Position:
        """Return how far the training of this epoch is; in validation it is done."""
        if not self.is_train_loader:
            assert self._trained is not None
            return self._trained
        assert self.counts is not None
        return Position(
            PartialEpoch(
                batches=self.loader_batch_step,
                confusion=self.counts.confusion,
                loss=self.counts.loss,
                generators=get_generators(),
            ),
            {"batch_step": self.batch_step, "sample_step": self.sample_step},
        )

    def on_loader_end(self, runner: Any) -> None:
        """Reduce the counts to the loader's figures."""
        assert self.counts is not None
        if self.resumes_at is not None:  # the epoch was broken off after its last training batch
            set_generators(self.resumes_at.generators)
            self.resumes_at = None
        if self.is_train_loader:
            self._trained = self.position()
        self.loader_metrics.update(self.counts.compute())
        if self.is_train_loader:
            samples = self.loader_sample_step
            self.job.timings.append((samples, time.monotonic() - self._started))
        super().on_loader_end(runner)

    def _check(self, loss: Tensor, index: Tensor) -> None:
        value = float(loss.detach())
        # A large validation loss is only a bad epoch; the training may still mend it.
        if np.isfinite(value) and (value < LARGEST_LOSS or not self.is_train_loader):
            return
        ids = [self.job.sample_ids[self.loader_key][int(item)] for item in index]
        raise TrainingError(
            f"epoch {self.epoch_step}, batch {self.loader_batch_step} of {self.loader_key}",
            f"loss {value} on samples {', '.join(ids)}",
            "a finite loss",
            "lower training.learning_rate, set training.precision=fp32, or look at these samples",
        )

    def _draw(self, batch: dict[str, Tensor], logits: Tensor) -> None:
        """Log predictions of the first validation images for TensorBoard."""
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
