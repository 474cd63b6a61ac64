"""One epoch of MONAI's trainer, for `benchmarks/training.py`."""

from collections.abc import Callable

import torch
from monai.engines import SupervisedTrainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.measuring import Spent, start_clock


def train(
    network: nn.Module,
    loader: DataLoader,
    normalise: Callable[[Tensor], Tensor],
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Spent:
    """Train an epoch."""
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=lambda batch, *_, **__: (normalise(batch["image"]), batch["mask"]),
    )
    stop = start_clock()
    trainer.run()
    return stop(len(loader.dataset))
