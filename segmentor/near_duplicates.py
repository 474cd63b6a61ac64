"""Pairs of images that look the same: few bits of their hashes and few grey levels differ.

The hash alone would pair all images with a common layout (road below, sky above), so the pictures
of each pair are compared too.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import Dataset

# Out of 64 bits, which are four 16-bit words: with at most three bits different, one is equal.
MAX_BITS = 3
_WORDS = 4
# Mean absolute difference of 64 x 64 grey pictures, in levels of 0..255. Saving a photograph again
# as JPEG costs about 1; the next frame of a moving camera 10 and more.
MAX_DIFFERENCE = 3.0
_SIDE = 64
# Pictures kept at once, 4 KiB each: enough for the neighbours in a film of any length.
_PICTURES = 1024
# Each of a word's equal values is compared with this many followers: all, in a realistic set.
_FOLLOWERS = 64

Picture = NDArray[np.float32]
# The pairs, which convert_labels finds once: a list of [position, position].
FILE_NAME = "look_alikes.json"


def look_alikes_of(dataset: Dataset, hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return the pairs that convert_labels found; those of older artifacts are found now."""
    path = dataset.folder / FILE_NAME
    if not path.is_file():
        return near_duplicates_of(dataset, hashes)
    return [(left, right) for left, right in json.loads(path.read_text())]


def write_look_alikes(folder: Path, pairs: list[tuple[int, int]]) -> None:
    """Keep the pairs in the data set artifact, for steps that read it."""
    (folder / FILE_NAME).write_text(json.dumps(pairs, separators=(",", ":")))


def near_duplicates_of(dataset: Dataset, hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return pairs of positions whose images look the same, the smaller first, sorted.

    Args:
        dataset: The images.
        hashes: uint64 (N,), the perceptual hash of each sample in order; 0 means no hash.
    """
    candidates = hash_pairs(hashes)
    # In the order in which they are needed first.
    needed = np.array(candidates, np.int64).ravel()
    order = needed[np.sort(np.unique(needed, return_index=True)[1])]
    coming = map(int, order)
    ahead = dataset.read_ahead(map(dataset.sample_at, map(int, order)))
    following = next(coming, None)

    # As bytes: four times as many pictures in the same memory.
    @lru_cache(maxsize=_PICTURES)
    def levels(position: int) -> NDArray[np.uint8]:
        nonlocal following
        if position == following:
            sample, following = next(ahead), next(coming, None)
        else:  # once more, after its picture was dropped
            sample = dataset.sample_at(position)
        return grey_picture(dataset.image(sample, at_least=(_SIDE, _SIDE))).astype(np.uint8)

    def picture(position: int) -> Picture:
        return levels(position).astype(np.float32)

    return [
        (left, right) for left, right in candidates if look_alike(picture(left), picture(right))
    ]


def look_alike(left: Picture, right: Picture) -> bool:
    """Return True if two grey pictures differ little, apart from their brightness."""
    difference = (left - left.mean()) - (right - right.mean())
    return float(np.abs(difference).mean()) <= MAX_DIFFERENCE


def grey_picture(image: NDArray[np.uint8]) -> Picture:
    """Return float32 (64, 64) of an image, RGB uint8 (H, W, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def hash_pairs(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return pairs of positions whose hashes differ in at most MAX_BITS bits; 0 means no hash.

    The smaller position comes first; the pairs are sorted. Within a run of equal hashes only
    neighbours are paired, and only the first one with other hashes, which links them all.
    """
    positions = np.flatnonzero(hashes)
    unique, first = np.unique(hashes[positions], return_index=True)
    found = [positions[first][pair] for pair in _candidates(unique)]
    # Equal hashes pair with the next one only: a thousand black images must not be a million pairs.
    order = np.argsort(hashes[positions], kind="stable")
    same = hashes[positions[order[1:]]] == hashes[positions[order[:-1]]]
    found.append(positions[np.stack([order[:-1][same], order[1:][same]], axis=1)])
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return [(left, right) for left, right in pairs.tolist()]


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yield (P, 2) pairs of unequal hashes close enough, sorting along each word of the hash."""
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
