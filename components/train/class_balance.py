"""What the training set holds of each class: weights for the loss, and refusal of absent ones."""

from typing import Literal

import numpy as np

from segmentor.dataset import Dataset
from segmentor.errors import ConfigError, TrainingError
from segmentor.label_map import BACKGROUND
from segmentor.plurals import counted

# Without a limit a class of a few pixels would outweigh all others.
LARGEST_WEIGHT = 10.0


def require_classes(train_set: Dataset) -> None:
    """Refuse a training set in which a class never occurs; background may be absent.

    Raises:
        TrainingError: nothing to learn such a class from, or to tell the only one from.
    """
    label_map = train_set.label_map
    pixels = class_pixels(train_set)
    absent = [
        name
        for name, count in zip(label_map.names, pixels, strict=True)
        if count == 0 and name != BACKGROUND
    ]
    if absent:
        raise TrainingError(
            "train data set",
            f"no pixel of {', '.join(absent)} in {counted(len(train_set), 'image')}",
            "every class at least once",
            "split with another seed, label more images, or leave it out of classes "
            "(of classes=... or label_map, which convert_labels reads)",
        )
    present = [name for name, count in zip(label_map.names, pixels, strict=True) if count]
    if len(present) < 2:
        # A network that predicts this class everywhere would have loss 0 and IoU 1.
        raise TrainingError(
            "train data set",
            f"pixels of one class, '{present[0]}', and nothing to tell it from",
            "two classes, of which one may be background",
            "convert with --unlabelled background, or label the rest as another class",
        )


def class_pixels(dataset: Dataset) -> list[int]:
    """Count the pixels of each class in the whole data set."""
    counts = np.zeros(len(dataset.label_map), np.int64)
    for sample in dataset.samples:
        counts += np.array(sample.class_pixels, np.int64)
    return [int(count) for count in counts]


def class_weights(
    setting: Literal["none", "balanced"] | list[float], train_set: Dataset
) -> list[float] | None:
    """Return weights by class: none, as given, or by median frequency balancing.

    Source: Eigen and Fergus, ICCV 2015: the median class frequency over the class's own, where a
    class's frequency is its pixels over the pixels of the images that hold it.

    Raises:
        ConfigError: as many weights as classes are needed, all positive.
    """
    if setting == "none":
        return None
    if isinstance(setting, list):
        classes = len(train_set.label_map)
        if len(setting) != classes or min(setting) <= 0:
            raise ConfigError(
                "training.class_weights",
                f"{setting}",
                f"{classes} positive weights, for {', '.join(train_set.label_map.names)}",
            )
        return setting
    counts = np.array([sample.class_pixels for sample in train_set.samples], np.float64)  # (N, K)
    held = (counts.sum(1, keepdims=True) * (counts > 0)).sum(0)
    frequency = np.divide(counts.sum(0), held, out=np.full(counts.shape[1], np.nan), where=held > 0)
    weights = np.nanmedian(frequency) / frequency
    weights = np.nan_to_num(weights, nan=1.0)  # background that never occurs
    return [float(weight) for weight in np.clip(weights, 1 / LARGEST_WEIGHT, LARGEST_WEIGHT)]
