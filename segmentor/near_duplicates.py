"""Pairs of images that look the same: few bits of their hashes differ, and so do few grey levels.

The hash alone would join whatever shares a layout (road below, sky above); so each pair that it
proposes is looked at.
"""

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import Dataset

# Of 64 bits. Four 16-bit words: with at most three bits different, one word is equal.
MAX_BITS = 3
_WORDS = 4
# Mean absolute difference of 64 x 64 grey pictures, in levels of 0..255. Saving a photograph again
# as JPEG costs about 1; the next frame of a moving camera 10 and more.
MAX_DIFFERENCE = 3.0
_SIDE = 64
# Kept at once, 4 KiB each: neighbours of a film are, whatever its length.
_PICTURES = 1024
# Of one word's equal values, each is compared with so many followers: all of a realistic set.
_FOLLOWERS = 64

Picture = NDArray[np.float32]


def near_duplicates_of(dataset: Dataset, hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Returns pairs of positions whose images look the same, the smaller first, sorted.

    Args:
        dataset: The images.
        hashes: uint64 (N,), the perceptual hash of each sample in order; 0 is no hash.
    """

    # As bytes, which they are: four times the pictures in the same memory.
    @lru_cache(maxsize=_PICTURES)
    def levels(position: int) -> NDArray[np.uint8]:
        image = dataset.image(dataset.sample_at(position), at_least=(_SIDE, _SIDE))
        return grey_picture(image).astype(np.uint8)

    def picture(position: int) -> Picture:
        return levels(position).astype(np.float32)

    candidates = hash_pairs(hashes)
    return [
        (left, right) for left, right in candidates if look_alike(picture(left), picture(right))
    ]


def look_alike(left: Picture, right: Picture) -> bool:
    """True when two grey pictures differ by little, whatever their brightness."""
    difference = (left - left.mean()) - (right - right.mean())
    return float(np.abs(difference).mean()) <= MAX_DIFFERENCE


def grey_picture(image: NDArray[np.uint8]) -> Picture:
    """Returns float32 (64, 64) of an image, RGB uint8 (H, W, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def hash_pairs(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Returns pairs of positions whose hashes differ in at most MAX_BITS bits; 0 is no hash.

    The smaller position comes first; the pairs are sorted. Of a run of equal hashes only
    neighbours are paired, and only its first with other hashes: that links them all.
    """
    positions = np.flatnonzero(hashes)
    unique, first = np.unique(hashes[positions], return_index=True)
    found = [positions[first][pair] for pair in _candidates(unique)]
    # Of equal hashes, each goes with the next: a thousand black images are not a million pairs.
    order = np.argsort(hashes[positions], kind="stable")
    same = hashes[positions[order[1:]]] == hashes[positions[order[:-1]]]
    found.append(positions[np.stack([order[:-1][same], order[1:][same]], axis=1)])
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return [(left, right) for left, right in pairs.tolist()]


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yields (P, 2) pairs of unequal hashes close enough, sorting along each word of the hash."""
    for word in range(_WORDS):
        values = (hashes >> np.uint64(16 * word)) & np.uint64(0xFFFF)
        order = np.lexsort((hashes, values))
        for step in range(1, min(_FOLLOWERS, len(order) - 1) + 1):
            left, right = order[:-step], order[step:]
            same = values[left] == values[right]
            if not same.any():
                break
            left, right = left[same], right[same]
            close = np.bitwise_count(hashes[left] ^ hashes[right]) <= MAX_BITS
            yield np.stack([left[close], right[close]], axis=1)
