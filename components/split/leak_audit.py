"""Looks for leaks: frames of one sequence, or look-alikes, that ended up in different splits.

A drive filmed at 30 frames a second shows the same road a second later: a test image next to a
training image measures memory, not learning.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.split.sample_table import SampleTable
from components.split.splitting import SPLITS

_FRAME_NUMBER = re.compile(r"\d+(?=\D*$)")
# Frames closer than this many typical steps of their sequence count as neighbours.
NEIGHBOUR_STEPS = 1.5
# Numbered images are a film when neighbours look alike: of the hash's 64 bits, half a drive's
# neighbours differ in at most 22 even 5 seconds apart (CamVid), unrelated photographs in 28 to 32.
MAX_MEDIAN_BITS = 25
# Of fewer neighbours the median says little: each pair is judged by itself. Of unrelated road
# scenes 1 % differ in no more bits; of CamVid's frames up to 2 seconds apart, nine in ten do not.
MIN_NEIGHBOURS = 8
CERTAIN_BITS = 18


@dataclass(frozen=True)
class Leak:
    """Two samples, by position, of one sequence and of different splits, that are neighbours.

    `is_certain` is false where their pictures do not tell whether it is a film.
    """

    sequence: str
    left: int
    right: int
    gap: int
    typical_step: float
    is_certain: bool


def find_leaks(table: SampleTable, splits: NDArray[np.int8]) -> list[Leak]:
    """Returns the neighbours across splits in every numbered sequence, the closest first.

    Args:
        table: All samples.
        splits: int8 (N,), the split of each.
    """
    sequences: dict[str, list[tuple[int, int]]] = {}
    for position, (sample_id, subset) in enumerate(zip(table.ids, table.subsets, strict=True)):
        name = sample_id.removeprefix(f"{subset}/") if subset else sample_id
        match = _FRAME_NUMBER.search(name)
        if match:
            sequence = f"{name[: match.start()]}#{name[match.end() :]}"
            sequences.setdefault(sequence, []).append((int(match.group()), position))
    leaks = [
        leak
        for sequence, frames in sequences.items()
        if len(frames) > 1
        for leak in _leaks_of(sequence, sorted(frames), table.hashes, splits)
    ]
    return sorted(leaks, key=lambda leak: (not leak.is_certain, leak.gap, leak.sequence, leak.left))


def _leaks_of(
    sequence: str,
    frames: list[tuple[int, int]],
    hashes: NDArray[np.uint64],
    splits: NDArray[np.int8],
) -> Iterator[Leak]:
    """Yields the leaks among (number, position) of one sequence, in order."""
    numbers = np.array([number for number, _ in frames])
    positions = np.array([position for _, position in frames])
    steps = np.diff(numbers)
    torn = splits[positions[1:]] != splits[positions[:-1]]
    if not torn.any() or not steps.any():
        return
    typical = float(np.median(steps[steps > 0]))
    near = np.flatnonzero(torn & (steps <= NEIGHBOUR_STEPS * typical))
    for index, is_certain in _judged(hashes[positions], near):
        left, right = positions[index : index + 2].tolist()
        yield Leak(sequence, left, right, int(steps[index]), typical, is_certain)


def _judged(hashes: NDArray[np.uint64], pairs: NDArray[np.int64]) -> Iterator[tuple[int, bool]]:
    """Yields the pairs (of a position and the next) that look like a film, and whether surely."""
    bits = np.bitwise_count(hashes[1:] ^ hashes[:-1]).astype(np.int64)
    known = (hashes[1:] != 0) & (hashes[:-1] != 0)
    if known.sum() > MIN_NEIGHBOURS:
        if np.median(bits[known]) <= MAX_MEDIAN_BITS:
            yield from ((index, True) for index in pairs.tolist())
        return
    for index in pairs.tolist():
        if not known[index] or bits[index] <= MAX_MEDIAN_BITS:
            yield index, bool(known[index] and bits[index] <= CERTAIN_BITS)


def describe(leak: Leak, table: SampleTable, splits: NDArray[np.int8]) -> str:
    """Returns one line about a leak."""
    left, right = (f"{table.ids[p]} ({SPLITS[splits[p]]})" for p in (leak.left, leak.right))
    frames = f"{leak.gap} frame{'' if leak.gap == 1 else 's'} apart"
    text = f"{left} and {right}: {frames}; the sequence's typical step is {leak.typical_step:g}"
    return text if leak.is_certain else f"{text}; unsure, as the pictures do not tell"
