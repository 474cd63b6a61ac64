"""The loaders of training and validation samples, over one cache each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from components.train.augmentation import Augmentation, try_transforms
from components.train.configuration.config import AUTO, TrainConfig, TrainingSettings
from components.train.loading.samples import EpochSampler, SampleCache, TorchSamples
from components.train.processes import world_size
from segmentor.contract import InputSpec
from segmentor.dataset import Dataset, Sample


@dataclass(frozen=True)
class Loaders:
    """Both loaders by Catalyst's keys (`train`, `valid`), the training sampler, and sample ids."""

    by_key: dict[str, DataLoader[Any]]
    sampler: EpochSampler
    sample_ids: dict[str, list[str]]


def make_loaders(
    config: TrainConfig,
    train_set: Dataset,
    val_set: Dataset,
    spec: InputSpec,
    scratch: Path,
    device: str,
) -> Loaders:
    """Build the loaders over one cache each; an overfitting check has one for both."""
    settings = config.training
    train_samples, val_samples = choose_samples(settings, train_set, val_set)
    is_native = spec.size_policy == "native"
    size = None if is_native else spec.size
    # Tried before the images are decoded, which may take minutes.
    transforms = {} if settings.overfit_batches else config.processing.augmentation
    try_transforms(transforms, spec.size)
    augmentation = Augmentation(transforms, spec.size if is_native else None)
    limit, white = settings.cache_bytes, spec.white
    cache = val_cache = SampleCache(train_set, train_samples, size, limit, scratch, white)
    if not settings.overfit_batches:
        val_cache = SampleCache(val_set, val_samples, size, limit, scratch, white)
    batch_size = max(1, min(settings.batch_size, len(train_samples) // world_size()))
    # Give each process as many batches: the others would wait for one that has fewer.
    multiple = batch_size * world_size()
    options = worker_options(settings.workers, device)
    # Workers load whole batches ahead; without them the next samples are fetched meanwhile.
    is_alone = options["num_workers"] == 0 and world_size() == 1
    sampler = EpochSampler(
        *(len(train_samples), config.seed),
        is_shuffled=True,
        multiple=multiple,
        announce=cache.prefetch if is_alone else None,
    )
    train_loader = DataLoader(
        TorchSamples(cache, augmentation, config.seed), batch_size, sampler=sampler, **options
    )
    val_loader = DataLoader(
        TorchSamples(val_cache, None, pad_to=spec.stride if is_native else None),
        1 if is_native else settings.batch_size,
        sampler=EpochSampler(
            *(len(val_samples), 0),
            is_shuffled=False,
            announce=val_cache.prefetch if is_alone else None,
        ),
        **options,
    )
    ids = {"train": [s.id for s in train_samples], "valid": [s.id for s in val_samples]}
    return Loaders({"train": train_loader, "valid": val_loader}, sampler, ids)


def choose_samples(
    settings: TrainingSettings, train_set: Dataset, val_set: Dataset
) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return all samples; or the first batches of train, twice, for an overfitting check."""
    if settings.overfit_batches:
        few = list(train_set.samples[: settings.overfit_batches * settings.batch_size])
        return few, few
    return train_set.samples, val_set.samples


def worker_options(setting: Literal["auto"] | int, device: str) -> dict[str, Any]:
    """Return the loaders' worker processes: `auto` starts none on a CPU.

    Workers would compete with the training for cores and have little to do: images come decoded
    and resized from the cache.
    """
    if setting == AUTO:
        count = 0 if device == "cpu" else min(8, max(1, (os.cpu_count() or 2) - 1))
    else:
        count = int(setting)
    return {
        "num_workers": count,
        "persistent_workers": count > 0,
        "pin_memory": device == "cuda",
    }
