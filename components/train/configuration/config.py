"""The configuration as frozen values: unknown keys and wrong types are refused by name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from components.train.configuration.compose import preset_values
from components.train.configuration.schema import read
from components.train.configuration.transform_names import require_transform
from components.train.losses import LOSSES, check_terms
from segmentor.contract import SizePolicy
from segmentor.digests import digest_json
from segmentor.errors import ConfigError, did_you_mean
from segmentor.nn.network_names import likely_stride, require_known, require_options
from segmentor.pixel_conversion import WHITE

AUTO = "auto"
NONE = "none"
ENCODER_WEIGHTS = (NONE, "imagenet", "efficientnet-lite0")


@dataclass(frozen=True)
class ModelSettings:
    """The network, and where its weights come from (`none` asks nobody).

    `weights` are of a whole network, `encoder_weights` of its encoder; the former win.
    """

    architecture: str
    encoder: str
    weights: str
    encoder_weights: str
    options: dict[str, Any]


@dataclass(frozen=True)
class ProcessingSettings:
    """From decoded image to the network's input; augmentation by Albumentations' class names."""

    size: Literal["auto"] | tuple[int, int]
    max_pixels: int
    size_policy: SizePolicy
    white: int
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
    """Check a composed configuration and freeze it.

    Raises:
        ConfigError: a key is unknown (with the nearest right one) or missing, a value has the
            wrong type, or is out of its range; or there is no such architecture, encoder, loss or
            augmentation, or it has no such argument, or the augmentation ruins images or masks.
    """
    loss = value.get("training", {}).get("loss") if isinstance(value, Mapping) else None
    if isinstance(loss, str) and loss in LOSSES:
        raise ConfigError(
            "training.loss", f"'{loss}'", "losses and their weights",
            f"write training.loss='{{{loss}: 1}}'",
        )  # fmt: skip
    config = read(TrainConfig, value, "")
    _check_ranges(config)
    _check_processing(config.processing)
    check_terms(config.training.loss)
    _check_weights("model.encoder_weights", config.model.encoder_weights, ENCODER_WEIGHTS)
    _check_weights("model.weights", config.model.weights, (NONE,))
    model = config.model
    require_known(model.architecture, model.encoder)
    require_options(model.architecture, model.encoder, model.options)
    for name, arguments in config.processing.augmentation.items():
        require_transform(name, arguments)
    _try_augmentation(config.processing)
    stride = likely_stride(model.architecture, model.options)
    if config.processing.size != AUTO and stride is not None:
        require_multiples(config.processing.size, stride, model.architecture)
    return config


def require_multiples(size: Any, stride: int, architecture: str) -> None:
    """Refuse a size that the network cannot halve as often as it has to.

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


def network_digest(config: TrainConfig) -> str:
    """Return the identity of the network: architecture, encoder and options, not its weights."""
    model = config.model
    return digest_json([model.architecture, model.encoder, model.options])


def _check_weights(where: str, source: str, words: tuple[str, ...]) -> None:
    """Refuse a word that names no source; what looks like a path is opened where it is needed."""
    if source in words or Path(source).suffix or "/" in source or Path(source).exists():
        return
    near = get_close_matches(source, words, 1, 0.6)
    raise ConfigError(
        where,
        f"'{source}'",
        f"{', '.join(words)}, a file, a folder, or an s3:// URI",
        did_you_mean(near),
    )


def _try_augmentation(processing: ProcessingSettings) -> None:
    """Try transforms that no preset has; Albumentations, whose import takes seconds, is needed.

    A machine that only submits runs may lack it; there the train step tries them.
    """
    known = [preset.get("augmentation", {}) for preset in preset_values("processing")]
    own = processing.augmentation.items()
    if any(all(item in preset.items() for item in own) for preset in known):
        return
    if find_spec("albumentations") is not None:
        from components.train.augmentation import try_transforms

        try_transforms(
            processing.augmentation,
            None if isinstance(processing.size, str) else processing.size,
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
    if not isinstance(processing.size, str) and min(processing.size) < 1:
        raise ConfigError("processing.size", str(processing.size), "positive values")
    if not 0 < processing.white <= WHITE:
        raise ConfigError("processing.white", str(processing.white), f"1..{WHITE}")
    for name, values in (("mean", processing.mean), ("std", processing.std)):
        # NaN is refused too. Papers and other tools also give them for pixels of 0..255.
        if not all(0 <= value <= 1 for value in values) or (name == "std" and min(values) == 0):
            raise ConfigError(
                f"processing.{name}",
                str(list(values)),
                f"three values {'above 0 and' if name == 'std' else 'of 0 and more,'} at most 1: "
                "pixels are scaled to 0..1 first",
                "divide values meant for pixels of 0..255 by 255" if max(values) > 1 else "",
            )
