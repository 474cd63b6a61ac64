"""The network's input: its size from the configuration or the data set, and what it is made of."""

import math

from components.train.config import AUTO, TrainConfig, require_multiples
from segmentor.contract import InputSpec
from segmentor.dataset import Dataset, Sample


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
    require_multiples(size, stride, config.model.architecture)
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
