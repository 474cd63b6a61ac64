"""What the training images are like: brightness, and the share of each class, for the contract."""

import numpy as np

from segmentor.dataset import Dataset
from segmentor.pixel_conversion import WHITE
from segmentor.progress import track
from segmentor.training_reference import TrainingReference, histogram, mean_brightness

# A larger set is sampled evenly: more images do not change a histogram of ten bins.
MOST_IMAGES = 1000
# JPEG is decoded at a fraction of its size where that is enough for a mean.
ENOUGH = (64, 64)


def training_reference(train_set: Dataset, white: int = WHITE) -> TrainingReference:
    """Measure the images, and count the labels that the data set's index already holds.

    Raises:
        ImageError: an image cannot be decoded.
    """
    samples = train_set.samples
    if len(samples) > MOST_IMAGES:
        chosen = np.linspace(0, len(samples) - 1, MOST_IMAGES).astype(int)
        samples = tuple(samples[index] for index in chosen)
    brightness = [
        mean_brightness(train_set.image(sample, ENOUGH, white))
        for sample in track(train_set.read_ahead(samples), "measure images", len(samples))
    ]
    pixels = np.array([sample.class_pixels for sample in samples], np.float64)  # (N, K)
    shares = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    return TrainingReference(
        images=len(samples),
        brightness=histogram(brightness),
        coverage={
            name: histogram(list(column))
            for name, column in zip(train_set.label_map.names, shares.T, strict=True)
        },
    )
