"""Optimizer and scheduler from their settings."""

from typing import Any

import torch
from torch import nn

from components.train.config import TrainingSettings


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Makes the optimizer; normalisation and bias take no weight decay.

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
    """Makes the scheduler for `steps` batches in all; None for `none`.

    `one_cycle` and `cosine` are stepped after each batch, `plateau` after each epoch.
    """
    schedulers = torch.optim.lr_scheduler
    if settings.scheduler == "one_cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        total = max(steps, 3)
        # A quarter to warm up; of very short runs more, or the first phase would have no length.
        return schedulers.OneCycleLR(
            optimizer,
            highest,
            total,
            pct_start=max(0.25, 1.5 / total),
            # It would put its own in place of training.momentum.
            cycle_momentum=settings.optimizer != "sgd",
        )
    if settings.scheduler == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
    if settings.scheduler == "plateau":
        mode = "max" if settings.metric == "iou" else "min"
        return schedulers.ReduceLROnPlateau(optimizer, mode, patience=settings.patience)
    return None


def is_stepped_per_batch(settings: TrainingSettings) -> bool:
    """True for the schedulers that follow batches rather than epochs."""
    return settings.scheduler in ("one_cycle", "cosine")
