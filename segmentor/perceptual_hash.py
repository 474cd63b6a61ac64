"""A 64-bit hash of what an image looks like: few bits differ between near duplicates."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Side of the grey picture that is hashed, and of the block of low frequencies that is kept.
HASHED_SIZE = 32
_FREQUENCIES = 8


def perceptual_hash(image: NDArray[np.uint8]) -> str:
    """Return the pHash of an image as 16 hex digits.

    Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010:
    the signs of the lowest DCT coefficients against their median.

    Args:
        image: RGB uint8 (H, W, 3).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (HASHED_SIZE, HASHED_SIZE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES].ravel()
    return np.packbits(low > np.median(low)).tobytes().hex()
