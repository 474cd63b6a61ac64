"""Large images under the `native` policy: overlapping tiles, blended, in memory bounded by a tile.

An image of no more pixels than a tile is one forward pass, exactly as without tiling. A larger one
is cut into tiles that overlap; across an overlap the weight of one tile falls linearly to zero
while its neighbour's rises to one, so that no seam is left where two tiles disagree.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract

TILE = 1024
OVERLAP = 128
# With more classes tiles are smaller: one of 1,024 x 1,024 pixels takes 0.8 GB for 200 classes.
_CHANNELS = 16

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def is_tiled(contract: ModelContract, size: tuple[int, int]) -> bool:
    """Return True if an image of this (height, width) is run in tiles.

    The padded size counts, because that is what the network sees.
    """
    stride = contract.input.stride
    height, width = (math.ceil(length / stride) * stride for length in size)
    return contract.input.size_policy == "native" and height * width > tile_side(contract) ** 2


def tile_side(contract: ModelContract) -> int:
    """Return the longest side of a tile: TILE, or less for a model with many classes."""
    if contract.channels <= _CHANNELS:
        return TILE
    stride = contract.input.stride
    side = TILE * math.sqrt(_CHANNELS / contract.channels) // stride * stride
    return max(2 * OVERLAP, int(side))


def probability_blocks(
    forward: Run, contract: ModelContract, pixels: NDArray[np.uint8]
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Run an image in tiles and yield the blended probability piece by piece.

    Args:
        forward: Probability (N, C, H, W) of pixels (N, H, W, 3), sizes kept.
        contract: The contract of the model.
        pixels: RGB uint8 (H, W, 3).

    Yields:
        (top, left, probability float32 (C, bh, bw)): blocks that cover the image once.
    """
    height, width = pixels.shape[:2]
    stride, tile_length = contract.input.stride, tile_side(contract)
    columns = _spans(width, stride, tile_length)
    above: NDArray[np.float32] | None = None  # (C, OVERLAP, W), the share of the row above
    for top, bottom in _spans(height, stride, tile_length):
        rows = _weights(top, bottom, height)
        keep_rows = bottom - top - (OVERLAP if bottom < height else 0)
        below: NDArray[np.float32] | None = None
        before: NDArray[np.float32] | None = None  # (C, bh, OVERLAP), the share of the left tile
        for left, right in columns:
            weights = rows[:, None] * _weights(left, right, width)
            tile = forward(pixels[None, top:bottom, left:right])[0] * weights  # (C, th, tw)
            if before is not None:
                tile[:, :, :OVERLAP] += before
            keep = right - left - (OVERLAP if right < width else 0)
            before = tile[:, :, keep:]
            block = tile[:, :, :keep]
            if above is not None:
                block[:, :OVERLAP] += above[:, :, left : left + keep]
            if bottom < height:
                if below is None:
                    below = np.empty((len(tile), OVERLAP, width), np.float32)
                below[:, :, left : left + keep] = block[:, keep_rows:]
            yield top, left, block[:, :keep_rows]
        above = below


def tiled(forward: Run, contract: ModelContract) -> Run:
    """Wrap a Forward so that large images run in tiles; other images run as before.

    The result holds the whole probability, so its memory grows with the classes; where the mask is
    enough, `inference.mask_of` takes it block by block.
    """

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not is_tiled(contract, (images.shape[1], images.shape[2])):
            return forward(images)
        return np.stack([_assembled(forward, contract, pixels) for pixels in images])

    return run


def _assembled(
    forward: Run, contract: ModelContract, pixels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    whole: NDArray[np.float32] | None = None
    for top, left, block in probability_blocks(forward, contract, pixels):
        if whole is None:
            whole = np.empty((len(block), *pixels.shape[:2]), np.float32)
        whole[:, top : top + block.shape[1], left : left + block.shape[2]] = block
    if whole is None:
        raise ValueError("an image without pixels")
    return whole


def _spans(length: int, stride: int, tile: int = TILE) -> list[tuple[int, int]]:
    """Cut a length into even spans of at most `tile`, overlapping by OVERLAP, on the stride."""
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - OVERLAP) / (tile - OVERLAP))
    step = math.ceil((length - OVERLAP) / count / stride) * stride
    starts = range(0, length - OVERLAP, step)
    return [(start, min(start + step + OVERLAP, length)) for start in starts]


def _weights(start: int, end: int, length: int) -> NDArray[np.float32]:
    weights = np.ones(end - start, np.float32)
    ramp = (np.arange(OVERLAP, dtype=np.float32) + 0.5) / OVERLAP
    if start > 0:
        weights[:OVERLAP] = ramp
    if end < length:
        weights[-OVERLAP:] = 1 - ramp
    return weights
