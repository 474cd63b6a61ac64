"""Training as segmentation-models-pytorch's CamVid example does it, for `benchmarks/camvid.py`.

Its network, loss, augmentation, optimizer and schedule, run by Lightning as the example runs them.
Kinder to it than the example: pixels are scaled to 0..1 before mean and std are taken off,
unlabelled pixels are ignored instead of a class of their own, batches are of 8 instead of 32 (more
steps in the same time), and no loader workers take the cores that train.

Source: examples/camvid_segmentation_multiclass.ipynb of qubvel-org/segmentation_models.pytorch.
"""

import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations
import lightning.pytorch as lightning
import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.utils.data import DataLoader, Dataset

from components.train.encoder_weights import load_encoder_weights
from segmentor import dataset as artifact
from segmentor.contract import InputSpec, ModelContract
from segmentor.label_map import IGNORE_INDEX
from segmentor.nn.checkpoint import Checkpoint, save_checkpoint
from segmentor.nn.network import NetworkConfig, build_network

BATCH = 8
CROP = 320
LEARNING_RATE = 2e-4
LOWEST_RATE = 1e-5
HALF = (0.5, 0.5, 0.5)


def training_transform() -> albumentations.Compose:
    """The example's, in its order."""
    some = albumentations.OneOf
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(
                scale=(0.5, 1.5), translate_percent=0.1, p=1, border_mode=0, fill_mask=IGNORE_INDEX
            ),
            albumentations.PadIfNeeded(CROP, CROP, fill_mask=IGNORE_INDEX, border_mode=0),
            albumentations.RandomCrop(CROP, CROP),
            albumentations.GaussNoise(p=0.2),
            albumentations.Perspective(p=0.5, fill_mask=IGNORE_INDEX),
            some(
                [
                    albumentations.CLAHE(p=1),
                    albumentations.RandomBrightnessContrast(p=1),
                    albumentations.RandomGamma(p=1),
                ],
                p=0.9,
            ),
            some(
                [
                    albumentations.Sharpen(p=1),
                    albumentations.Blur(blur_limit=3, p=1),
                    albumentations.MotionBlur(blur_limit=3, p=1),
                ],
                p=0.9,
            ),
            some(
                [
                    albumentations.RandomBrightnessContrast(p=1),
                    albumentations.HueSaturationValue(p=1),
                ],
                p=0.9,
            ),
        ],
        seed=0,
    )  # fmt: skip


class Samples(Dataset):
    """A data set artifact as the example's Dataset gives it; decoded once, which is kind too."""

    def __init__(self, source: artifact.Dataset, transform: Callable | None) -> None:
        pairs = ((source.image(sample), source.mask(sample)) for sample in source.samples)
        self.pairs = [(np.array(image), np.array(mask)) for image, mask in pairs]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = self.pairs[index]
        if self.transform is None:
            bottom = -len(mask) % 32
            image = np.pad(image, ((0, bottom), (0, 0), (0, 0)))
            mask = np.pad(mask, ((0, bottom), (0, 0)), constant_values=IGNORE_INDEX)
        else:
            result = self.transform(image=image, mask=mask)
            image, mask = result["image"], result["mask"]
        return np.ascontiguousarray(image.transpose(2, 0, 1)), mask.astype(np.int64)


class CamVidModel(lightning.LightningModule):
    """The example's module."""

    def __init__(self, network: torch.nn.Module, spec: InputSpec, channels: int, steps: int):
        super().__init__()
        self.model, self.steps = network, steps
        self.is_binary = channels == 1
        mode = smp.losses.BINARY_MODE if self.is_binary else smp.losses.MULTICLASS_MODE
        self.loss_fn = smp.losses.DiceLoss(mode, from_logits=True, ignore_index=IGNORE_INDEX)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise uint8 (N, 3, h, w); return logits."""
        return self.model((image.float() - self.mean) / self.std)

    def shared_step(self, batch: tuple[torch.Tensor, torch.Tensor], stage: str) -> torch.Tensor:
        """Loss and IoU of a batch."""
        image, mask = batch
        logits = self(image)
        target = mask[:, None] if self.is_binary else mask
        loss = self.loss_fn(logits, target)
        if self.is_binary:
            predicted = (logits.sigmoid() > 0.5).long()
            counts = smp.metrics.get_stats(predicted, (target == 1).long(), mode="binary")
        else:
            counts = smp.metrics.get_stats(
                logits.softmax(1).argmax(1), target, mode="multiclass", ignore_index=IGNORE_INDEX,
                num_classes=logits.shape[1],
            )  # fmt: skip
        self.log(f"{stage}_iou", smp.metrics.iou_score(*counts, reduction="micro"))
        return loss

    def training_step(self, batch, index):
        """Lightning's."""
        return self.shared_step(batch, "train")

    def validation_step(self, batch, index):
        """Lightning's."""
        return self.shared_step(batch, "valid")

    def configure_optimizers(self):
        """Adam and a cosine over all steps."""
        optimizer = torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=self.steps, eta_min=LOWEST_RATE
        )
        rate = {"scheduler": schedule, "interval": "step", "frequency": 1}
        return {"optimizer": optimizer, "lr_scheduler": rate}


def train(data: Path, checkpoint: Path, encoder: str, weights: str, cpu_seconds: float) -> None:
    """Train for at least `cpu_seconds` of CPU time, and write a checkpoint for `evaluate`.

    One epoch before it tells how many that takes, and does not count.
    """
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    train_set, val_set = artifact.Dataset(data / "train"), artifact.Dataset(data / "val")
    label_map = train_set.label_map
    spec = InputSpec((CROP, CROP), size_policy="native", stride=32, mean=HALF, std=HALF)
    config = NetworkConfig("fpn", encoder)
    loaders = (
        DataLoader(Samples(train_set, training_transform()), BATCH, shuffle=True),
        DataLoader(Samples(val_set, None), BATCH),
    )

    def fit(epochs: int) -> tuple[CamVidModel, float, float]:
        torch.manual_seed(0)
        network = build_network(config, label_map.channels)
        load_encoder_weights(network, encoder, weights)
        module = CamVidModel(network, spec, label_map.channels, epochs * len(loaders[0]))
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.fit(module, *loaders)
        return module, time.perf_counter() - wall, time.process_time() - cpu

    _, _, once = fit(1)
    epochs = math.ceil(cpu_seconds / once)
    module, wall, cpu = fit(epochs)
    checkpoint.mkdir(parents=True)
    contract = ModelContract(label_map, spec)
    model = {"architecture": config.architecture, "encoder": encoder, "options": {}}
    save_checkpoint(checkpoint, Checkpoint(module.model, config, contract, {"model": model}))
    spent = {"epochs": epochs, "wall_s": round(wall), "cpu_s": round(cpu)}
    (checkpoint.parent / "spent.json").write_text(json.dumps(spent))


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5]))
