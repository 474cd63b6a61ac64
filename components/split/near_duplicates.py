"""Pairs of images that look the same: few bits of their hashes differ, and so do few grey levels.

The hash alone would join whatever shares a layout (road below, sky above); so each pair that it
proposes is looked at.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import Dataset, Sample

# Of 64 bits. Four 16-bit words: with at most three bits different, one word is equal.
MAX_BITS = 3
_WORDS = 4
# Mean absolute difference of 64 x 64 grey pictures, in levels of 0..255. Saving a photograph again
# as JPEG costs about 1; the next frame of a moving camera 10 and more.
MAX_DIFFERENCE = 3.0
_SIDE = 64
# Of one word's equal values, each is compared with so many followers: all of a realistic set.
_FOLLOWERS = 64


def near_duplicate_pairs(dataset: Dataset, samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Returns pairs of positions whose images look the same, the smaller first, sorted."""
    picture = lru_cache(maxsize=4096)(lambda position: _picture(dataset, samples[position]))
    return [
        (left, right)
        for left, right in hash_pairs(samples)
        if look_alike(picture(left), picture(right))
    ]


def look_alike(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    """True when two grey pictures differ by little, whatever their brightness."""
    difference = (left - left.mean()) - (right - right.mean())
    return float(np.abs(difference).mean()) <= MAX_DIFFERENCE


def hash_pairs(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Returns pairs of positions whose hashes differ in at most MAX_BITS bits."""
    known = [position for position, sample in enumerate(samples) if sample.perceptual_hash]
    if not known:
        return []
    positions = np.array(known)
    hashes = np.array([int(samples[p].perceptual_hash, 16) for p in known], np.uint64)
    found = [positions[pair] for pair in _candidates(hashes)]
    if not found:
        return []
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return [(left, right) for left, right in pairs.tolist()]


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yields (P, 2) pairs close enough, found by sorting along each word of the hash."""
    for word in range(_WORDS):
        values = (hashes >> np.uint64(16 * word)) & np.uint64(0xFFFF)
        # Within one value of the word, equal hashes lie side by side.
        order = np.lexsort((hashes, values))
        for step in range(1, min(_FOLLOWERS, len(order) - 1) + 1):
            left, right = order[:-step], order[step:]
            same = values[left] == values[right]
            if not same.any():
                break
            left, right = left[same], right[same]
            bits = np.bitwise_count(hashes[left] ^ hashes[right])
            close = bits <= MAX_BITS
            yield np.stack([left[close], right[close]], axis=1)


def _picture(dataset: Dataset, sample: Sample) -> NDArray[np.float32]:
    image = dataset.image(sample, at_least=(_SIDE, _SIDE))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)
