"""Looks for leaks: frames of one sequence, or look-alikes, that ended up in different splits.

A drive filmed at 30 frames a second shows the same road a second later: a test image next to a
training image measures memory, not learning.
"""

import re
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
# Of fewer neighbours the median says nothing: they count as a film.
MIN_NEIGHBOURS = 8


@dataclass(frozen=True)
class Leak:
    """Two samples, by position, of one sequence and of different splits, that are neighbours."""

    sequence: str
    left: int
    right: int
    gap: int
    typical_step: float


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
    leaks = []
    for sequence, frames in sequences.items():
        if len(frames) < 2:
            continue
        frames.sort()
        numbers = np.array([number for number, _ in frames])
        positions = [position for _, position in frames]
        steps = np.diff(numbers)
        if len({int(splits[position]) for position in positions}) < 2:
            continue
        if not _is_film(table.hashes[positions]):
            continue
        typical = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        leaks += [
            Leak(sequence, positions[i], positions[i + 1], int(steps[i]), typical)
            for i in range(len(steps))
            if splits[positions[i]] != splits[positions[i + 1]]
            and steps[i] <= NEIGHBOUR_STEPS * typical
        ]
    return sorted(leaks, key=lambda leak: (leak.gap, leak.sequence, leak.left))


def _is_film(hashes: NDArray[np.uint64]) -> bool:
    """False for numbered images whose neighbours have nothing in common."""
    known = hashes[hashes != 0]
    if len(known) <= MIN_NEIGHBOURS:
        return True
    return float(np.median(np.bitwise_count(known[1:] ^ known[:-1]))) <= MAX_MEDIAN_BITS


def describe(leak: Leak, table: SampleTable, splits: NDArray[np.int8]) -> str:
    """Returns one line about a leak."""
    left, right = (f"{table.ids[p]} ({SPLITS[splits[p]]})" for p in (leak.left, leak.right))
    frames = f"{leak.gap} frame{'' if leak.gap == 1 else 's'} apart"
    return f"{left} and {right}: {frames}; the sequence's typical step is {leak.typical_step:g}"
