"""How far the run is: a bar on a terminal, a line every few seconds of a long epoch in a log."""

import logging
import sys
import time
from typing import Any

from tqdm import tqdm

from components.train import catalyst_compat as compat
from segmentor.progress import SECONDS_BETWEEN_LINES

logger = logging.getLogger(__name__)


class ShowProgress(compat.Callback):  # type: ignore[misc]
    """Follows the batches of the training loader; each epoch's figures are `KeepState`'s line."""

    def __init__(self) -> None:
        super().__init__(order=compat.CallbackOrder.External)
        self._bar: Any = None
        self._last = 0.0

    def on_experiment_start(self, runner: Any) -> None:
        """Show the bar, over the batches of all epochs that are left."""
        self._last = time.monotonic()
        if runner.engine.is_main_process and sys.stderr.isatty():
            batches = len(runner.loaders["train"]) * runner.engine.num_processes
            left = runner.num_epochs - runner.epoch_step
            self._bar = tqdm(total=batches * left, desc="train", unit="batch", leave=False)

    def on_batch_end(self, runner: Any) -> None:
        """Move the bar, or write a line when it is time to."""
        if not (runner.is_train_loader and runner.engine.is_main_process):
            return
        loss = float(runner.batch_metrics["loss"].detach())
        if self._bar is not None:
            self._bar.set_postfix(epoch=runner.epoch_step, loss=f"{loss:.3f}", refresh=False)
            self._bar.update(runner.engine.num_processes)
            return
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            logger.info(
                "progress epoch=%d/%d batch=%d/%d loss=%.4f",
                runner.epoch_step,
                runner.num_epochs,
                runner.loader_batch_step,
                runner.loader_batch_len * runner.engine.num_processes,
                loss,
            )

    def on_epoch_end(self, runner: Any) -> None:
        """An epoch's line counts as one."""
        self._last = time.monotonic()

    def on_experiment_end(self, runner: Any) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
