"""The loaders of training and validation samples, over one cache each."""

import os
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from components.train.augmentation import Augmentation
from components.train.config import AUTO, TrainConfig
from components.train.processes import world_size
from components.train.samples import EpochSampler, SampleCache, TorchSamples
from segmentor.contract import InputSpec
from segmentor.dataset import Dataset
from segmentor.errors import TrainingError


def make_loaders(
    config: TrainConfig,
    train_set: Dataset,
    val_set: Dataset,
    spec: InputSpec,
    scratch: Path,
    device: str,
) -> tuple[dict[str, DataLoader[Any]], EpochSampler, dict[str, list[str]]]:
    """Builds both loaders, the training sampler, and the sample ids by loader.

    Workers would steal the training's cores on a CPU, and there is nothing left to do for them:
    images come decoded and resized from the cache.
    """
    settings = config.training
    train_samples, val_samples = list(train_set.samples), list(val_set.samples)
    if not train_samples or not val_samples:
        empty = "train" if not train_samples else "val"
        raise TrainingError(f"{empty} data set", "no samples", "at least one", "check split")
    is_native = spec.size_policy == "native"
    size = None if is_native else spec.size
    transforms = config.processing.augmentation
    if settings.overfit_batches:
        train_samples = train_samples[: settings.overfit_batches * settings.batch_size]
        val_set, val_samples, transforms = train_set, train_samples, {}
    limit = settings.cache_bytes
    cache = SampleCache(train_set, train_samples, size, limit, scratch)
    val_cache = cache
    if not settings.overfit_batches:
        val_cache = SampleCache(val_set, val_samples, size, limit, scratch)
    augmentation = Augmentation(transforms, spec.size if is_native else None)
    batch_size = max(1, min(settings.batch_size, len(train_samples) // world_size()))
    # As many batches for each process: one that had fewer would leave the others waiting.
    sampler = EpochSampler(
        len(train_samples), config.seed, is_shuffled=True, multiple=batch_size * world_size()
    )
    workers = settings.workers
    if workers == AUTO:
        workers = 0 if device == "cpu" else min(8, max(1, (os.cpu_count() or 2) - 1))
    assert isinstance(workers, int)
    train_loader = DataLoader(
        TorchSamples(cache, augmentation, config.seed),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device == "cuda",
    )
    val_loader = DataLoader(
        TorchSamples(val_cache, None, pad_to=spec.stride if is_native else None),
        batch_size=1 if is_native else settings.batch_size,
        sampler=EpochSampler(len(val_samples), 0, is_shuffled=False),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device == "cuda",
    )
    ids = {"train": [s.id for s in train_samples], "valid": [s.id for s in val_samples]}
    return {"train": train_loader, "valid": val_loader}, sampler, ids
