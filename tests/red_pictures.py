"""Pictures for the model of red_model.py: an object is a block, as surely as it is red."""

import numpy as np
from numpy.typing import NDArray

SIZE = (60, 80)


def picture(*blocks: tuple[int, int, int, int], red: int = 245) -> NDArray[np.uint8]:
    """Draw blocks (top, left, bottom, right); the rest is hardly red."""
    image = np.full((*SIZE, 3), 20, np.uint8)
    for top, left, bottom, right in blocks:
        image[top:bottom, left:right, 0] = red
    return image


def label(*blocks: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return the mask of blocks."""
    mask = np.zeros(SIZE, np.uint8)
    for top, left, bottom, right in blocks:
        mask[top:bottom, left:right] = 1
    return mask
