"""Optimizer and scheduler from their settings."""

from typing import Any, Literal

import torch
from torch import nn

from components.train.configuration.config import TrainingSettings


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Make the optimizer; normalisation and bias take no weight decay.

    The encoder's learning rate is scaled by `encoder_learning_rate`.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        key = (name.startswith("encoder."), parameter.ndim > 1)
        groups.setdefault(key, []).append(parameter)
    rate = settings.learning_rate
    parameters = [
        {
            "params": values,
            "lr": rate * (settings.encoder_learning_rate if is_encoder else 1.0),
            "weight_decay": settings.weight_decay if is_decayed else 0.0,
        }
        # The decoder first: the learning rate that is logged is the first group's.
        for (is_encoder, is_decayed), values in sorted(groups.items())
    ]
    # Fused kernels exist for the CPU as well; they are part of the speed-up measured in docs.
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, momentum=settings.momentum, nesterov=settings.momentum > 0,
            fused=True,
        )  # fmt: skip
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, fused=True)


def make_scheduler(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps: int
) -> Any | None:
    """Make the scheduler for `steps` batches in all; None for `none`.

    `one_cycle` and `cosine` are stepped after each batch, `plateau` after each epoch.
    """
    schedulers = torch.optim.lr_scheduler
    if settings.scheduler == "one_cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        total = max(steps, 3)
        return schedulers.OneCycleLR(
            optimizer,
            highest,
            total,
            pct_start=_warm_up(total),
            # The scheduler would replace training.momentum with its own values.
            cycle_momentum=settings.optimizer != "sgd",
        )
    if settings.scheduler == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
    if settings.scheduler == "plateau":
        mode: Literal["max", "min"] = "max" if settings.metric == "iou" else "min"
        return schedulers.ReduceLROnPlateau(optimizer, mode, patience=settings.patience)
    return None


def is_warming_up(scheduler: Any | None) -> bool:
    """Return True until the rates of `one_cycle` have peaked: too early to stop."""
    if not isinstance(scheduler, torch.optim.lr_scheduler.OneCycleLR):
        return False
    return scheduler.last_epoch < round(_warm_up(scheduler.total_steps) * scheduler.total_steps)


def _warm_up(steps: int) -> float:
    """Return a quarter of the steps; more of very short runs, whose first phase would be empty."""
    return max(0.25, 1.5 / steps)


def is_stepped_per_batch(settings: TrainingSettings) -> bool:
    """Return True for the schedulers that follow batches rather than epochs."""
    return settings.scheduler in ("one_cycle", "cosine")
