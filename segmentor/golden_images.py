"""Golden images: what a model makes of the test images that are published with it.

deploy publishes the masks that it got; a predictor computes them again before it takes requests.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.inference import Forward, decode_for, mask_of

# A `native` model is compared only in the middle of an image: whole photographs take minutes.
NATIVE_SIDE: Final = 512


@dataclass(frozen=True)
class ComparedPart:
    """The part of an image that is compared.

    `pixels`: as the model takes them. `size`: (height, width) of its mask. `window`: where it is in
    the mask of the whole image, which has `image_size`.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    window: tuple[slice, slice]
    image_size: tuple[int, int]


def decode_golden(contract: ModelContract, content: bytes, name: str) -> ComparedPart:
    """Decode the part of an image that is compared.

    Raises:
        ImageError: the image cannot be decoded.
    """
    pixels, size = decode_for(contract, content, name)
    if contract.input.size_policy == "resize":
        return ComparedPart(pixels, size, (slice(None), slice(None)), size)
    top, left = (max(0, length - NATIVE_SIDE) // 2 for length in size)
    window = (slice(top, top + NATIVE_SIDE), slice(left, left + NATIVE_SIDE))
    pixels = pixels[window]
    return ComparedPart(pixels, (pixels.shape[0], pixels.shape[1]), window, size)


def golden_mask(
    forward: Forward, contract: ModelContract, content: bytes, name: str
) -> NDArray[np.uint8]:
    """Predict the mask of the compared part of an image."""
    part = decode_golden(contract, content, name)
    return mask_of(forward, contract, part.pixels, part.size)
