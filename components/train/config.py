"""The configuration as frozen values: unknown keys and wrong types are refused by name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from components.train.schema import read, unknown_key
from components.train.transform_names import require_transform
from segmentor.contract import SizePolicy
from segmentor.digests import digest_json
from segmentor.errors import ConfigError, did_you_mean
from segmentor.nn.network_names import likely_stride, require_known, require_options

AUTO = "auto"
NONE = "none"
ENCODER_WEIGHTS = (NONE, "imagenet", "efficientnet-lite0")
# Of `training.loss`; which kind of network it is, is known with the data set.
BINARY_LOSSES = ("dice", "bce", "focal", "jaccard", "tversky", "lovasz")
MULTICLASS_LOSSES = ("dice", "cross_entropy", "focal", "jaccard", "tversky", "lovasz")
LOSSES = tuple(dict.fromkeys((*BINARY_LOSSES, *MULTICLASS_LOSSES)))


@dataclass(frozen=True)
class ModelSettings:
    """The network, and where its encoder's weights come from (`none` asks nobody)."""

    architecture: str
    encoder: str
    encoder_weights: str
    options: dict[str, Any]


@dataclass(frozen=True)
class ProcessingSettings:
    """From decoded image to the network's input; augmentation by Albumentations' class names."""

    size: Literal["auto"] | tuple[int, int]
    max_pixels: int
    size_policy: SizePolicy
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augmentation: dict[str, Any]


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained; every key is explained in conf/training/default.yaml."""

    epochs: int
    batch_size: int
    loss: Literal["auto"] | dict[str, float]
    class_weights: Literal["none", "balanced"] | list[float]
    optimizer: Literal["adam", "adamw", "sgd"]
    learning_rate: float
    encoder_learning_rate: float
    weight_decay: float
    momentum: float
    gradient_clip: float
    scheduler: Literal["one_cycle", "cosine", "plateau", "none"]
    patience: int
    early_stopping: int
    metric: Literal["iou", "loss"]
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    workers: Literal["auto"] | int
    cache_bytes: int
    overfit_batches: int
    overlays: int
    mirror: str
    mirror_minutes: float


@dataclass(frozen=True)
class TrainConfig:
    """The whole configuration of the train step."""

    seed: int
    model: ModelSettings
    processing: ProcessingSettings
    training: TrainingSettings


def to_train_config(value: Mapping[str, Any]) -> TrainConfig:
    """Checks a composed configuration and freezes it.

    Raises:
        ConfigError: a key is unknown (with the nearest right one) or missing, a value has the
            wrong type, or is out of its range; or there is no such architecture, encoder, loss or
            augmentation, or it has no such argument.
    """
    config = read(TrainConfig, value, "")
    _check_ranges(config)
    _check_processing(config.processing)
    _check_loss(config.training.loss)
    _check_weights(config.model.encoder_weights)
    model = config.model
    require_known(model.architecture, model.encoder)
    require_options(model.architecture, model.encoder, model.options)
    for name, arguments in config.processing.augmentation.items():
        require_transform(name, arguments)
    stride = likely_stride(model.architecture, model.options)
    if config.processing.size != AUTO and stride is not None:
        require_multiples(config.processing.size, stride, model.architecture)
    return config


def require_multiples(size: Any, stride: int, architecture: str) -> None:
    """Refuses a size that the network cannot halve as often as it has to.

    Raises:
        ConfigError: the size is no multiple of the network's stride, with the nearest that is.
    """
    height, width = size
    if height % stride or width % stride:
        right = [max(stride, round(length / stride) * stride) for length in (height, width)]
        raise ConfigError(
            "processing.size",
            f"{height} x {width}",
            f"multiples of {stride}, the stride of {architecture}",
            f"set processing.size=[{right[0]},{right[1]}]",
        )


def require_losses(terms: Mapping[str, float], is_binary: bool) -> None:
    """Refuses losses of another kind of network.

    Raises:
        ConfigError: no terms, an unknown one, or one of another kind.
    """
    allowed = BINARY_LOSSES if is_binary else MULTICLASS_LOSSES
    if not terms:
        raise ConfigError("training.loss", "no terms", f"some of {', '.join(allowed)}")
    for name in terms:
        if name not in allowed:
            kind = "binary" if is_binary else "multiclass"
            raise ConfigError(
                f"training.loss.{name}",
                f"no loss of a {kind} network",
                f"one of {', '.join(allowed)}",
            )


def network_digest(config: TrainConfig) -> str:
    """The identity of the network: architecture, encoder and options, not its weights."""
    model = config.model
    return digest_json([model.architecture, model.encoder, model.options])


def _check_loss(loss: str | dict[str, float]) -> None:
    if isinstance(loss, str):
        return
    if not loss:
        raise ConfigError("training.loss", "no terms", f"some of {', '.join(LOSSES)}")
    for name, weight in loss.items():
        if name not in LOSSES:
            raise unknown_key(f"training.loss.{name}", [f"training.loss.{n}" for n in LOSSES])
        if not 0 < weight < math.inf:
            raise ConfigError(f"training.loss.{name}", str(weight), "a weight above 0")


def _check_weights(source: str) -> None:
    """Refuses a word that names no source; what looks like a path is opened where it is needed."""
    if source in ENCODER_WEIGHTS or Path(source).suffix or "/" in source or Path(source).exists():
        return
    near = get_close_matches(source, ENCODER_WEIGHTS, 1, 0.6)
    raise ConfigError(
        "model.encoder_weights",
        f"'{source}'",
        f"{', '.join(ENCODER_WEIGHTS)}, a file, or an s3:// URI",
        did_you_mean(near),
    )


def _check_ranges(config: TrainConfig) -> None:
    training = config.training
    at_least: dict[str, float] = {
        "epochs": 1,
        "batch_size": 1,
        "patience": 0,
        "early_stopping": 0,
        "cache_bytes": 0,
        "overfit_batches": 0,
        "overlays": 0,
        "weight_decay": 0,
        "momentum": 0,
        "gradient_clip": 0,
        "encoder_learning_rate": 0,
        "mirror_minutes": 0,
    }
    for key, lowest in at_least.items():
        if not lowest <= getattr(training, key) < math.inf:
            raise ConfigError(f"training.{key}", str(getattr(training, key)), f"at least {lowest}")
    if not 0 < training.learning_rate < math.inf:
        raise ConfigError("training.learning_rate", str(training.learning_rate), "above 0")
    if training.momentum >= 1:
        raise ConfigError("training.momentum", str(training.momentum), "below 1")
    if isinstance(training.workers, int) and training.workers < 0:
        raise ConfigError("training.workers", str(training.workers), "at least 0")
    if config.seed < 0:
        raise ConfigError("seed", str(config.seed), "at least 0")
    weights = training.class_weights
    if isinstance(weights, list) and not all(0 < weight < math.inf for weight in weights):
        raise ConfigError("training.class_weights", str(weights), "positive weights, one a class")


def _check_processing(processing: ProcessingSettings) -> None:
    if processing.max_pixels < 1024:
        raise ConfigError("processing.max_pixels", str(processing.max_pixels), "at least 1024")
    if processing.size != AUTO and min(processing.size) < 1:
        raise ConfigError("processing.size", str(processing.size), "positive values")
    if not all(0 < value < math.inf for value in processing.std):
        raise ConfigError(
            "processing.std", str(list(processing.std)), "values above 0: pixels are divided by it"
        )
    if not all(math.isfinite(value) for value in processing.mean):
        raise ConfigError("processing.mean", str(list(processing.mean)), "finite values")
