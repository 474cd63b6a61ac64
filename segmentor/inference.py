"""From an encoded image to a mask, the same way for evaluation, parity and serving.

`Forward` is the one seam: torch's (segmentor.nn.deployable) and onnxruntime's
(segmentor.onnx_model) have this signature, and everything else is shared.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.image_io import MAX_PIXELS, decode_with_size
from segmentor.tiling import is_tiled, probability_blocks

# Larger masks are computed band by band.
_BAND_PIXELS = 1 << 22
# Probabilities in a band, all classes together.
_BAND_VALUES = 1 << 24

# RGB uint8 (N, H, W, 3) of any size -> probability float32 (N, C, h, w) at network resolution.
Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def decode_for(
    contract: ModelContract, content: bytes, where: str = "image", max_pixels: int = MAX_PIXELS
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode an image as the model of this contract needs it.

    Under the `resize` policy a JPEG much larger than the network's input is decoded at a reduced
    scale, because the resize would discard the detail anyway. Training decodes by the same rule.

    Returns:
        RGB uint8 (H, W, 3), and the (height, width) of the source as displayed.

    Raises:
        ImageError: see `decode_image`.
    """
    at_least = contract.input.size if contract.input.size_policy == "resize" else None
    return decode_with_size(content, where, max_pixels, at_least, contract.input.white)


def probability_at(probability: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize one image's probability (C, h, w) to (C, H, W), bilinear with half-pixel centres."""
    if probability.shape[1:] == size:
        return probability
    return np.stack([_plane_at(plane, size) for plane in probability])


def _plane_at(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if plane.shape == size:
        return plane
    resized = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def mask_at(
    probability: NDArray[np.float32], contract: ModelContract, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Compute the mask of one image at its source size.

    Binary: class 1 where probability > threshold. Multiclass: the class of highest probability; of
    equal ones the lower index wins, as in argmax. Large masks are computed in bands, so that
    memory does not grow with the number of classes.

    Args:
        probability: float32 (C, h, w).
        contract: The contract of the model that made it.
        size: (height, width) of the source.

    Returns:
        uint8 (H, W), class indices.
    """
    if size[0] * size[1] <= _BAND_PIXELS or probability.shape[1:] == size:
        return _take_mask((_plane_at(plane, size) for plane in probability), contract)
    mask = np.empty(size, np.uint8)
    for top, band in _bands_at(probability, size):
        mask[top : top + band.shape[1]] = _take_mask(iter(band), contract)
    return mask


def _take_mask(planes: Iterator[NDArray[np.float32]], contract: ModelContract) -> NDArray[np.uint8]:
    """Compute the mask (H, W) from C planes (H, W), read one at a time."""
    first = next(planes)
    if contract.is_binary:
        return np.asarray(first > contract.threshold).view(np.uint8)
    best = first.copy()
    mask = np.zeros(best.shape, np.uint8)
    for index, plane in enumerate(planes, start=1):
        mask[plane > best] = index
        np.maximum(best, plane, out=best)
    return mask


def _bands_at(
    probability: NDArray[np.float32], size: tuple[int, int]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Do what `probability_at` does, band by band: yield (top, float32 (C, bh, W)).

    Otherwise a photograph of 100 megapixels would take 0.4 GB per class.
    """
    height, width = size
    source = probability.shape[1]
    rows = max(1, min(_BAND_PIXELS // 4, _BAND_VALUES // len(probability)) // width)
    # The centre of target row i lies at (i + 0.5) * source / height - 0.5 in the source.
    position = ((np.arange(height) + 0.5) * (source / height) - 0.5).clip(0, source - 1)
    upper = position.astype(np.int64)
    weight = (position - upper).astype(np.float32)[None, :, None]
    lower = np.minimum(upper + 1, source - 1)
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        above, below = probability[:, upper[band]], probability[:, lower[band]]  # (C, bh, w)
        mixed = above + (below - above) * weight[:, band]
        yield top, probability_at(mixed, (mixed.shape[1], width))


def mask_of(
    forward: Forward,
    contract: ModelContract,
    pixels: NDArray[np.uint8],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Run one decoded image and return its mask; a `native` model runs large images in tiles.

    Args:
        forward: The model.
        contract: The contract of the model.
        pixels: RGB uint8 (h, w, 3), as `decode_for` gives them.
        size: (height, width) of the source.

    Returns:
        uint8 (H, W), class indices.
    """
    if not is_tiled(contract, size):
        return mask_at(forward(pixels[None])[0], contract, size)
    mask = np.empty(size, np.uint8)
    for top, left, block in probability_blocks(forward, contract, pixels):
        height, width = block.shape[1:]
        mask[top : top + height, left : left + width] = mask_at(block, contract, (height, width))
    return mask


def predict_mask(
    forward: Forward, contract: ModelContract, content: bytes, where: str = "image"
) -> NDArray[np.uint8]:
    """Run the whole path for one encoded image: decode, forward, mask at the source size.

    Returns:
        uint8 (H, W), class indices, H and W as displayed.

    Raises:
        ImageError: the image cannot be decoded.
    """
    pixels, size = decode_for(contract, content, where)
    return mask_of(forward, contract, pixels, size)
