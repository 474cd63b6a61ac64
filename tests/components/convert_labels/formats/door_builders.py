"""Images and masks in folders, as people have them."""

import numpy as np
from numpy.typing import NDArray

from tests.components.convert_labels.label_builders import (
    encoded,
    png,
)

SIZE = (24, 32)
Files = dict[str, bytes | str]


def indices(seed: int = 0, values: tuple[int, ...] = (0, 1)) -> NDArray[np.uint8]:
    """A mask in which each value covers some rows."""
    mask = np.zeros(SIZE, np.uint8)
    for row, value in enumerate(values, 1):
        mask[5 * row + seed : 5 * row + 5 + seed] = value
    return mask


def image(seed: int = 0) -> bytes:
    return encoded(SIZE, "x.jpg", seed)


def pairs(images: str, masks: str, suffix: str = "", count: int = 2) -> Files:
    """`count` images and index masks in two folders."""
    files: Files = {}
    for seed in range(count):
        files[f"{images}/p{seed}.jpg"] = image(seed)
        files[f"{masks}/p{seed}{suffix}.png"] = png(indices(seed))
    return files
