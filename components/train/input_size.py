"""The network's input: its size from the configuration or the data set, and what it is made of."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.train.configuration.config import AUTO, TrainConfig, require_multiples
from components.train.machine import is_out_of_memory
from segmentor.contract import InputSpec
from segmentor.dataset import Dataset, Sample
from segmentor.errors import ConfigError
from segmentor.plurals import counted


def input_spec(config: TrainConfig, train_set: Dataset, stride: int) -> InputSpec:
    """Decide the network's input; `auto` keeps the data set's aspect ratio.

    Raises:
        ConfigError: the size is no multiple of the network's stride.
    """
    processing = config.processing
    if processing.size == AUTO:
        size = auto_size(train_set.samples, processing.max_pixels, stride)
    else:
        assert not isinstance(processing.size, str)
        size = processing.size
    require_multiples(size, stride, config.model.architecture)
    return InputSpec(
        size,
        processing.size_policy,
        stride,
        processing.mean,
        processing.std,
        processing.white,
    )


def auto_size(samples: Sequence[Sample], max_pixels: int, stride: int) -> tuple[int, int]:
    """Return the median image's shape, scaled down to `max_pixels`, in multiples of the stride."""
    heights = sorted(sample.height for sample in samples)
    widths = sorted(sample.width for sample in samples)
    height, width = heights[len(heights) // 2], widths[len(widths) // 2]
    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    return (
        max(stride, round(height * scale / stride) * stride),
        max(stride, round(width * scale / stride) * stride),
    )


def check_trainable(
    network: nn.Module, size: tuple[int, int], batch_size: int, channels: int
) -> None:
    """Try the forward pass of one step on a copy.

    Raises:
        ConfigError: the network cannot take this size, or not a batch of one image, or returns
            something else than logits of the image's size.
    """
    trial = copy.deepcopy(network).train()
    device = next(trial.parameters()).device
    name = type(network).__name__
    try:
        with torch.no_grad():
            logits = trial(torch.zeros(min(batch_size, 2), 3, *size, device=device))
    except (ValueError, RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        if "more than 1 value per channel" in reason:
            raise ConfigError(
                "training.batch_size", f"1 for {name}", "at least 2: it normalises over the batch"
            ) from error
        raise ConfigError(
            "processing.size",
            f"{size[0]} x {size[1]}, at which {name} fails ({reason})",
            "a size that the network can take",
            "try a larger one, or another model",
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (min(batch_size, 2), channels, *size):
        raise ConfigError(
            "model.options",
            f"an output of {shape} from images of {size[0]} x {size[1]}",
            f"logits of {counted(channels, 'channel')} and the size of the images",
            "leave out options that change what the network returns",
        )
