"""Catalyst 22.4 on today's torch and accelerate: every remedy, by subclassing, in this one file.

What is wrong there, and what stands here or in `runner.py` instead:

* accelerate dropped DistributedType.TPU, which Catalyst reads at each loader's end: `_Compat`.
* `BackwardCallback(grad_clip_fn=...)` reads an attribute that does not exist, and
  `OptimizerCallback(grad_clip_fn=...)` ignores it: `Backward`.
* schedulers of today's torch are not recognised and never stepped: `scheduler_callback` is added
  by hand.
* `CheckpointCallback` writes the last weights as the best, forgets the best score on resume, and
  `resume=` is ignored: not used; `runner.KeepState` saves and resumes.
* `IOUCallback` has soft counts on whatever it is fed; its gather needs CUDA: not used;
  `metrics.Counts` counts pixels, and sums the counts over the processes.
* DistributedDataParallelEngine under torchrun trains each process alone: the plain engines, which
  join the process group that the environment describes.
"""

import contextlib
import json
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate import DataLoaderConfiguration
from torch import distributed

from components.train.configuration.compose import flat_items

# Catalyst and tensorboardX load them to see whether they are there, for what is not used here: two
# seconds of processor time at each start.
_EXTRAS = ("boto3", "google.cloud.storage", "matplotlib", "onnx", "optuna", "pandas", "sklearn")


@contextlib.contextmanager
def without(names: Sequence[str]) -> Iterator[None]:
    """Make `import name` fail as if the package were not installed, for all not yet imported.

    None in `sys.modules` is Python's own way to say so (library reference, `sys.modules`).
    """
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


with without(_EXTRAS), warnings.catch_warnings():
    # distutils' LooseVersion, and pkg_resources-like deprecations of 2022.
    warnings.simplefilter("ignore")
    from catalyst import dl
    from catalyst.core import IRunner as IRunner  # re-exported: the loop itself
    from catalyst.core.callback import Callback as Callback
    from catalyst.core.callback import CallbackOrder as CallbackOrder
    from tensorboardX import summary


class _Compat:
    """Mends what every engine inherits."""

    device: torch.device

    def mean_reduce_ddp_metrics(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Average metrics over the processes; without a process group they stay as they are."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return metrics
        names = sorted(metrics)
        values = torch.tensor([float(metrics[name]) for name in names], device=self.device)
        distributed.all_reduce(values)
        return dict(zip(names, (values / distributed.get_world_size()).tolist(), strict=True))


class CPUEngine(_Compat, dl.CPUEngine):  # type: ignore[misc]
    """One process on the CPU, or one of a gloo group."""


class GPUEngine(_Compat, dl.GPUEngine):  # type: ignore[misc]
    """One process on one GPU, alone or in a group."""


def make_engine(device: str) -> Any:
    """Make the engine of a device; join a process group when the environment has one.

    even_batches repeats samples so that all processes get as many: validation figures would count
    some images twice.
    """
    kind = CPUEngine if device == "cpu" else GPUEngine
    return kind(dataloader_config=DataLoaderConfiguration(even_batches=False))


class Backward(dl.BackwardCallback):  # type: ignore[misc]
    """Backward pass, then the gradient's norm is clipped and kept as `gradient_norm`."""

    def __init__(self, largest_norm: float) -> None:
        super().__init__(metric_key="loss")
        self.largest_norm = largest_norm

    def on_batch_end(self, runner: Any) -> None:
        """Follow each batch of the training loader."""
        if not runner.is_train_loader:
            return
        runner.engine.backward(runner.batch_metrics["loss"])
        if self.largest_norm > 0:
            norm = torch.nn.utils.clip_grad_norm_(runner.model.parameters(), self.largest_norm)
            runner.batch_metrics["gradient_norm"] = norm


def scheduler_callback(scheduler: Any, is_per_batch: bool, metric: str) -> Any:
    """Step a scheduler after each batch, or after each epoch with the validation metric."""
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        return dl.SchedulerCallback(mode="epoch", loader_key="valid", metric_key=metric)
    return dl.SchedulerCallback(mode="batch" if is_per_batch else "epoch")


def optimizer_callback() -> Any:
    """Step the optimizer after each training batch and log the learning rate."""
    return dl.OptimizerCallback(metric_key="loss")


_EPOCH = "_epoch_"  # Catalyst's name for what belongs to no loader


class TensorBoard(dl.TensorboardLogger):  # type: ignore[misc]
    """Scalars for each epoch, images, and the configuration (which Catalyst drops).

    The configuration is a text and, in the run `_epoch_`, a session of the HPARAMS tab: several
    trainings under one folder can be compared there by their settings. TensorBoard takes the last
    of each scalar beside a session as its metric, so that run has the best epoch's figures alone.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(logdir=folder, log_batch_metrics=False, log_epoch_metrics=True)

    def log_metrics(self, metrics: dict[str, Any], scope: str, runner: Any) -> None:
        """Write what is a number: an IoU without true pixels is not."""
        if scope == "epoch":
            progress = runner.progress
            best = next(row for row in progress.history if row["epoch"] == progress.best_epoch)
            figures = {f"best_{name}": best[f"valid/{name}"] for name in ("iou", "loss")}
            metrics = {**metrics, _EPOCH: _numbers(figures)}
        super().log_metrics(_numbers(metrics), scope, runner)

    def log_hparams(self, hparams: dict[str, Any], runner: Any = None) -> None:
        """Write the configuration under the text tag `configuration`, and as hyperparameters."""
        self._check_loader_key("train")
        text = json.dumps(hparams, indent=2, ensure_ascii=False)
        # Four spaces: TensorBoard reads Markdown, and shows code as it is.
        self.loggers["train"].add_text("configuration", textwrap.indent(text, "    "))
        self._check_loader_key(_EPOCH)
        # No experiment: TensorBoard takes that of one training for all. Without, it reads every
        # session, and shows first what differs.
        _experiment, start, self._end = summary.hparams(
            {name: _plain(value) for name, value in flat_items(hparams)}, {}
        )
        self.loggers[_EPOCH].file_writer.add_summary(start)

    def close_log(self) -> None:
        """Say that the session has ended, and close the files."""
        if _EPOCH in self.loggers:
            self.loggers[_EPOCH].file_writer.add_summary(self._end)
        super().close_log()


def _numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if value == value}


def _plain(value: Any) -> str | float | bool:
    """Convert to what HPARAMS accepts: numbers, booleans and texts."""
    return value if isinstance(value, str | int | float) else json.dumps(value)
