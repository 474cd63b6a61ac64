"""From data sets and configuration to a trained network: builds the run, and runs it."""

import contextlib
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from components.train import catalyst_compat as compat
from components.train.augmentation import Augmentation
from components.train.class_balance import class_weights, require_classes
from components.train.config import AUTO, TrainConfig
from components.train.encoder_weights import load_encoder_weights
from components.train.losses import SegmentationLoss, default_terms
from components.train.optimization import make_optimizer, make_scheduler
from components.train.precision import choose_bf16
from components.train.runner import Run, SegmentationRunner
from components.train.running_state import Progress, RunningState, load_best
from components.train.samples import EpochSampler, SampleCache, TorchSamples
from segmentor.contract import InputSpec
from segmentor.dataset import Dataset, Sample
from segmentor.errors import ConfigError, TrainingError
from segmentor.nn.network import NetworkConfig, build_network, network_stride

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """The result: the network with the weights of its best epoch, and how it got there."""

    network: nn.Module
    network_config: NetworkConfig
    input: InputSpec
    progress: Progress
    timings: list[tuple[int, float]]
    bf16: bool
    device: str
    threshold: float = 0.5


@dataclass(frozen=True)
class Places:
    """Folders of a run: state to continue from, TensorBoard events, scratch for the cache."""

    state: Path
    logs: Path
    scratch: Path


def train(
    config: TrainConfig,
    train_set: Dataset,
    val_set: Dataset,
    places: Places,
    fingerprint: str,
    resumed: RunningState | None = None,
    after_save: Callable[[], None] | None = None,
) -> Trained:
    """Trains as configured.

    Args:
        config: The configuration.
        train_set: To learn from.
        val_set: To choose the best epoch on; of the same label map.
        places: Existing folders.
        fingerprint: Identity of the run, kept with its state.
        resumed: State to continue from.
        after_save: Called when an epoch's state is on disk.

    Raises:
        ConfigError: settings that do not go together.
        TrainingError: nothing to learn from, a loss that is not finite, or no memory left.
    """
    settings = config.training
    device = choose_device(settings.device)
    torch.manual_seed(config.seed)
    label_map = train_set.label_map
    require_classes(train_set)
    network_config = NetworkConfig(
        config.model.architecture, config.model.encoder, config.model.options
    )
    network = build_network(network_config, label_map.channels)
    spec = input_spec(config, train_set, network_stride(network))
    if resumed is None:
        load_encoder_weights(network, config.model.encoder, config.model.encoder_weights)
    network = network.to(device).to(memory_format=torch.channels_last)
    check_trainable(network, spec.size, settings.batch_size)
    bf16 = (
        resumed.bf16
        if resumed is not None
        else choose_bf16(network, spec.size, settings.batch_size, settings.precision)
    )
    weights = class_weights(settings.class_weights, train_set)
    terms = default_terms(label_map.is_binary) if settings.loss == AUTO else settings.loss
    assert isinstance(terms, dict)
    loss = SegmentationLoss(terms, label_map.is_binary, weights).to(device)
    loaders, sampler, ids = make_loaders(config, train_set, val_set, spec, places.scratch, device)
    optimizer = make_optimizer(network, settings)
    first = resumed.progress.epoch if resumed is not None else 0
    engine = compat.make_engine(device)
    steps_an_epoch = math.ceil(len(loaders["train"]) / engine.num_processes)
    is_new_schedule = resumed is not None and resumed.epochs != settings.epochs
    epochs = settings.epochs - first if is_new_schedule else settings.epochs
    if is_new_schedule and resumed is not None:
        # The old curve ended with the old number of epochs: a new one over those that are left.
        resumed = replace(resumed, scheduler=None, optimizer=_fresh_rates(resumed, optimizer))
    run = Run(
        config=config,
        label_map=label_map,
        network=network,
        loss=loss,
        optimizer=optimizer,
        scheduler=make_scheduler(optimizer, settings, epochs * steps_an_epoch),
        loaders=loaders,
        sampler=sampler,
        sample_ids=ids,
        engine=engine,
        bf16=bf16,
        fingerprint=fingerprint,
        state_folder=places.state,
        logs=places.logs,
        resumed=resumed,
        after_save=after_save,
    )
    logger.info(
        "training device=%s precision=%s size=%dx%d train_images=%d val_images=%d parameters=%d",
        device,
        "bf16" if bf16 else "fp32",
        *spec.size,
        len(ids["train"]),
        len(ids["valid"]),
        sum(parameter.numel() for parameter in network.parameters()),
    )
    runner = SegmentationRunner(run)
    with memory_errors(settings.batch_size, spec.size):
        runner.run()
    network = engine.unwrap_model(runner.model)
    network.load_state_dict(load_best(places.state))
    return Trained(
        network=network.to("cpu").eval(),
        network_config=network_config,
        input=spec,
        progress=runner.progress,
        timings=run.timings,
        bf16=bf16,
        device=device,
    )


def choose_device(setting: str) -> str:
    """`auto` takes CUDA when there is one.

    Raises:
        ConfigError: `cuda` is asked for and there is none.
    """
    if setting == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device", "cuda, but there is no GPU", "cpu or auto")
    return "cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu"


def input_spec(config: TrainConfig, train_set: Dataset, stride: int) -> InputSpec:
    """Decides the network's input; `auto` keeps the data set's aspect ratio.

    Raises:
        ConfigError: the size is no multiple of the network's stride.
    """
    processing = config.processing
    if processing.size == AUTO:
        size = auto_size(train_set.samples, processing.max_pixels, stride)
    else:
        assert not isinstance(processing.size, str)
        size = processing.size
    if size[0] % stride or size[1] % stride:
        right = tuple(max(stride, round(value / stride) * stride) for value in size)
        raise ConfigError(
            "processing.size",
            f"{size[0]} x {size[1]}",
            f"multiples of {stride}, the stride of {config.model.architecture}",
            f"set processing.size=[{right[0]},{right[1]}]",
        )
    return InputSpec(size, processing.size_policy, stride, processing.mean, processing.std)


def auto_size(samples: tuple[Sample, ...], max_pixels: int, stride: int) -> tuple[int, int]:
    """The median image's shape, scaled down to `max_pixels`, in multiples of the stride."""
    heights = sorted(sample.height for sample in samples)
    widths = sorted(sample.width for sample in samples)
    height, width = heights[len(heights) // 2], widths[len(widths) // 2]
    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    return (
        max(stride, round(height * scale / stride) * stride),
        max(stride, round(width * scale / stride) * stride),
    )


def check_trainable(network: nn.Module, size: tuple[int, int], batch_size: int) -> None:
    """Refuses a batch of one where the network normalises over a 1 x 1 map of the batch.

    Raises:
        ConfigError: this network needs batches of at least two images.
    """
    if batch_size > 1:
        return
    device = next(network.parameters()).device
    network.train()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, *size, device=device))
    except ValueError as error:
        raise ConfigError(
            "training.batch_size", "1", "at least 2: this network normalises over the batch"
        ) from error


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
    sampler = EpochSampler(len(train_samples), config.seed, is_shuffled=True)
    workers = settings.workers
    if workers == AUTO:
        workers = 0 if device == "cpu" else min(8, max(1, (os.cpu_count() or 2) - 1))
    assert isinstance(workers, int)
    train_loader = DataLoader(
        TorchSamples(cache, augmentation, config.seed),
        batch_size=min(settings.batch_size, len(train_samples)),
        sampler=sampler,
        # A last batch of one image would upset batch normalisation.
        drop_last=True,
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


@contextlib.contextmanager
def memory_errors(batch_size: int, size: tuple[int, int]) -> Any:
    """Turns 'out of memory' of torch into an error that says what to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise out_of_memory(batch_size, size) from error
    except RuntimeError as error:
        # The CPU's allocator raises a plain RuntimeError.
        if "alloc" not in str(error) or "memory" not in str(error):
            raise
        raise out_of_memory(batch_size, size) from error


def out_of_memory(batch_size: int, size: tuple[int, int]) -> TrainingError:
    """The error for a run that does not fit."""
    return TrainingError(
        "training",
        f"out of memory with batches of {batch_size} at {size[0]} x {size[1]}",
        "",
        f"lower training.batch_size (to {max(1, batch_size // 2)}), then processing.max_pixels or "
        "processing.size, or choose a smaller model such as model=tiny",
    )


def _fresh_rates(resumed: RunningState, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The resumed optimizer's moments with the new settings of each group."""
    fresh: dict[str, Any] = optimizer.state_dict()
    moments: dict[int, dict[str, Tensor]] = resumed.optimizer["state"]
    return {"state": moments, "param_groups": fresh["param_groups"]}
