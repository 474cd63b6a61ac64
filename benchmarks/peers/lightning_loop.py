"""One epoch of Lightning and SMP as in their CamVid example, for `benchmarks/training.py`."""

import logging
import warnings
from collections.abc import Callable

import lightning.pytorch as lightning
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.measuring import Spent, start_clock


class Module(lightning.LightningModule):
    """The example's module around any network and loss; its clock runs while it trains."""

    def __init__(self, network, normalise, loss, optimizer) -> None:
        super().__init__()
        self.network, self.normalise, self.loss = network, normalise, loss
        self.optimizer = optimizer
        self.outputs: list[dict[str, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], index: int) -> dict[str, Tensor]:
        """Loss and counts of a batch, kept for the end of the epoch."""
        logits = self.network(self.normalise(batch["image"]))
        loss = self.loss(logits, batch["mask"])
        predicted = (logits.sigmoid() > 0.5).long()
        counts = smp.metrics.get_stats(predicted, batch["mask"][:, None], mode="binary")
        self.log("train_loss", loss.detach())
        output = {"loss": loss, **dict(zip(("tp", "fp", "fn", "tn"), counts, strict=True))}
        self.outputs.append(output)
        return output

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        self.stop = start_clock()

    def on_train_epoch_end(self) -> None:
        """Reduce the counts, and stop the clock."""
        counts = [torch.cat([x[name] for x in self.outputs]) for name in ("tp", "fp", "fn", "tn")]
        self.log("train_iou", smp.metrics.iou_score(*counts, reduction="micro"))
        self.spent = self.stop(len(self.trainer.train_dataloader.dataset))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the one given."""
        return self.optimizer


def train(
    network: nn.Module,
    loader: DataLoader,
    normalise: Callable[[Tensor], Tensor],
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Spent:
    """Train an epoch."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = Module(network, normalise, loss, optimizer)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    return module.spent
