"""Look for leaks: frames of one sequence, or look-alikes, that ended up in different splits.

A drive filmed at 30 frames a second shows the same road a second later: a test image next to a
training image measures memory, not learning.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from components.split.name_numbers import Integers, NumbersInNames, name_of, read_numbers
from components.split.sample_table import SampleTable
from components.split.splitting import SPLITS
from segmentor.plurals import counted

# Frames closer than this many typical steps of their sequence count as neighbours.
NEIGHBOUR_STEPS = 1.5
# Numbered images are a film when neighbours look alike: of the hash's 64 bits, half a drive's
# neighbours differ in at most 22 even 5 seconds apart (CamVid), unrelated photographs in 28 to 32.
MAX_MEDIAN_BITS = 25
# With fewer neighbours the median says little, so each pair is judged alone: 1 % of unrelated
# road scenes differ in at most this many bits, and nine in ten of CamVid's frames up to 2 s apart.
MIN_NEIGHBOURS = 8
CERTAIN_BITS = 18
# A film's neighbours differ in at most this share of the bits of its other pictures, and by so many
# standard errors less: 0.1 to 0.5 along a pan, 0.67 along CamVid's 0016E5; 0.84 to 1.3 of scans.
NEARER = 0.8
NEARER_ERRORS = 2.5
# Fewer pairs do not tell whether all pictures are alike.
MIN_FAR = 3
# What the pictures tell about two neighbours.
NO_FILM, UNSURE, CERTAIN = range(3)

# Judges each sample and the next one by their hashes.
_Judge = Callable[[NDArray[np.uint64]], NDArray[np.int8]]


@dataclass(frozen=True)
class Leak:
    """Two samples, by position, of one sequence and of different splits, that are neighbours.

    `is_certain` is false where their pictures do not tell whether it is a film.
    """

    left: int
    right: int
    gap: int
    typical_step: float
    is_certain: bool


@dataclass(frozen=True)
class Audit:
    """The leaks, the closest first, and how many samples have a name that tells no order.

    It is unknown which of these are neighbours.
    """

    leaks: tuple[Leak, ...]
    without_order: int


def audit(table: SampleTable, splits: NDArray[np.int8]) -> Audit:
    """Find the neighbours across splits in every sequence.

    Any number in a name may be the one that counts frames (`aachen_000000_000019_leftImg8bit`), or
    all of them together. Names without numbers are tried in their alphabetical order.
    A sample belongs to the first sequence that looks like a film, tried as `_sequences` has them.

    Args:
        table: All samples.
        splits: int8 (N,), the split of each.
    """
    leaks: list[Leak] = []
    is_taken = np.zeros(len(table), np.bool_)
    has_order = np.zeros(len(table), np.bool_)
    for numbers, positions, judge in _sequences(table, is_taken):
        has_order[positions] = True
        free = ~is_taken[positions]
        for film in _films(numbers[free], positions[free], table):
            verdicts = judge(table.hashes[film[1]])
            if verdicts.any():
                is_taken[film[1]] = True
                leaks += _leaks_of(*film, verdicts, splits)
    unnumbered = np.flatnonzero(~has_order).tolist()
    by_name = np.array(sorted(unnumbered, key=partial(name_of, table)), np.int64)
    # Images that all look alike match in any order, so only certain pairs count here.
    is_certain = _verdicts_on_each(table.hashes[by_name], _certain_bits(table.hashes)) == CERTAIN
    if is_certain.any():
        has_order[by_name] = True
        verdicts = np.where(is_certain, CERTAIN, NO_FILM).astype(np.int8)
        leaks += _leaks_of(np.arange(len(by_name)), by_name, verdicts, splits)
    leaks.sort(key=lambda leak: (not leak.is_certain, leak.gap, leak.left))
    return Audit(tuple(leaks), int((~has_order).sum()))


def _sequences(
    table: SampleTable, is_taken: NDArray[np.bool_]
) -> Iterator[tuple[Integers, Integers, _Judge]]:
    """Yield sequences: the numbers, the positions, and who tells whether it is a film.

    First samples whose names differ in one number, those whose neighbours look most alike before
    others: along a film little changes, from one patient or camera to the next much does. Then
    those whose names differ in several numbers, and last pairs: two samples alone are no sequence
    if there is a longer one.
    """
    names, certain_bits = read_numbers(table), _certain_bits(table.hashes)
    order = np.lexsort((names.positions, names.numbers, names.rests))
    keys, numbers = names.rests[order], names.numbers[order]
    positions, ends = names.positions[order], names.ends[order]
    starts, counts = _runs(keys)
    bits, is_known = _bits_between(table.hashes[positions])
    totals = np.concatenate(([0], np.cumsum(np.where(is_known, bits, MAX_MEDIAN_BITS))))
    mean_bits = (totals[starts + counts - 1] - totals[starts]) / (counts - 1)
    ranking = np.lexsort((-counts, ends[starts], mean_bits, counts == 2))
    longer = int((counts > 2).sum())
    for index in ranking[:longer].tolist():
        part = slice(starts[index], starts[index] + counts[index])
        yield numbers[part], positions[part], partial(_verdicts, certain_bits=certain_bits)
    yield from _sequences_of_several_numbers(names, is_taken, certain_bits)
    for index in ranking[longer:].tolist():
        part = slice(starts[index], starts[index] + counts[index])
        yield numbers[part], positions[part], partial(_verdicts, certain_bits=certain_bits)


def _sequences_of_several_numbers(
    names: NumbersInNames, is_taken: NDArray[np.bool_], certain_bits: int
) -> Iterator[tuple[Integers, Integers, _Judge]]:
    """Yield samples whose names are equal but for their numbers, as times are: `10-00-07.59`.

    What counts as the number is the place in their order.
    """
    counts = np.bincount(names.positions, minlength=len(names.templates))
    firsts = np.cumsum(counts) - counts
    for count in range(2, counts.max(initial=0) + 1):
        positions = np.flatnonzero((counts == count) & ~is_taken)
        table = names.numbers[firsts[positions][:, None] + np.arange(count)]  # (n, count)
        # The last number of a name stands first.
        order = np.lexsort((*table.T, names.templates[positions]))
        table, positions = table[order], positions[order]
        places = np.cumsum(np.append(0, (table[1:] != table[:-1]).any(axis=1)))[: len(positions)]
        for start, length in zip(*_runs(names.templates[positions]), strict=True):
            part = slice(start, start + length)
            if length > 2 and (table[part] != table[start]).any(axis=0).sum() > 1:
                judge = partial(_verdicts_on_each, certain_bits=certain_bits)
                yield places[part], positions[part], judge


def _runs(keys: NDArray[np.uint64]) -> tuple[Integers, Integers]:
    """Return where runs of equal sorted keys start, and their length; a run has at least two."""
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)])
    counts = np.diff(starts, append=len(keys))
    return starts[counts > 1], counts[counts > 1]


def _films(
    numbers: Integers, positions: Integers, table: SampleTable
) -> list[tuple[Integers, Integers]]:
    """Take a sequence apart by subset where one number has other pictures in other subsets.

    CVAT names the frames of every video from frame_000000 on: these are different films.
    """
    bits, is_known = _bits_between(table.hashes[positions])
    same = np.flatnonzero((np.diff(numbers) == 0) & ~(is_known & (bits <= CERTAIN_BITS)))
    subsets = [table.subsets[position] for position in positions.tolist()]
    if all(subsets[index] == subsets[index + 1] for index in same.tolist()):
        parts = [np.arange(len(numbers))]
    else:
        _, which = np.unique(subsets, return_inverse=True)
        parts = [np.flatnonzero(which == part) for part in range(which.max() + 1)]
    return [(numbers[part], positions[part]) for part in parts if len(part) > 1]


def _leaks_of(
    numbers: Integers,
    positions: Integers,
    verdicts: NDArray[np.int8],
    splits: NDArray[np.int8],
) -> Iterator[Leak]:
    """Yield the leaks of one film, in order."""
    steps = np.diff(numbers)
    torn = splits[positions[1:]] != splits[positions[:-1]]
    if not torn.any() or not steps.any():
        return
    typical = float(np.median(steps[steps > 0]))
    near = torn & (steps <= NEIGHBOUR_STEPS * typical) & (verdicts != NO_FILM)
    for index in np.flatnonzero(near).tolist():
        left, right = positions[index : index + 2].tolist()
        yield Leak(left, right, int(steps[index]), typical, bool(verdicts[index] == CERTAIN))


def _verdicts(hashes: NDArray[np.uint64], certain_bits: int) -> NDArray[np.int8]:
    """Judge each sample and the next of a sequence: NO_FILM, UNSURE or CERTAIN, int8 (N - 1,)."""
    bits, is_known = _bits_between(hashes)
    if is_known.sum() > MIN_NEIGHBOURS:
        is_like_film = np.median(bits[is_known]) <= MAX_MEDIAN_BITS
        film = CERTAIN if _are_nearer(bits[is_known], _far_bits(hashes)) else UNSURE
        return np.full(len(bits), film if is_like_film else NO_FILM, np.int8)
    if len(bits) >= MIN_FAR and _are_nearer(bits[is_known], _far_bits(hashes)):
        certain_bits = CERTAIN_BITS
    alone = np.select([bits <= certain_bits, bits <= MAX_MEDIAN_BITS], [CERTAIN, UNSURE], NO_FILM)
    return np.where(is_known, alone, UNSURE).astype(np.int8)


def _verdicts_on_each(hashes: NDArray[np.uint64], certain_bits: int) -> NDArray[np.int8]:
    """Judge as `_verdicts` does, and each pair of a film by itself too.

    In the order of several numbers, a drive's last frame stands before the first of the next drive.
    """
    bits, is_known = _bits_between(hashes)
    is_alike = is_known & (bits <= CERTAIN_BITS)
    return np.where(is_alike, _verdicts(hashes, certain_bits), NO_FILM).astype(np.int8)


def _are_nearer(near: Integers, far: Integers) -> bool:
    """Return True when neighbours are clearly more alike than other pictures.

    Scans, pages and a camera that stands still show pictures that are all alike.
    """
    if min(len(near), len(far)) < MIN_FAR or near.mean() > NEARER * far.mean():
        return False
    error = np.sqrt(near.var() / len(near) + far.var() / len(far))
    return bool(far.mean() - near.mean() >= NEARER_ERRORS * error)


def _certain_bits(hashes: NDArray[np.uint64]) -> int:
    """Return up to how many bits a pair is certain by itself: none is where all are alike."""
    far = _far_bits(hashes)
    return -1 if len(far) >= MIN_FAR and far.mean() <= MAX_MEDIAN_BITS else CERTAIN_BITS


def _far_bits(hashes: NDArray[np.uint64]) -> Integers:
    """Return in how many bits samples differ from those a half and a third of the way on."""
    known = hashes[hashes != 0]
    steps = sorted({len(known) // 2, len(known) // 3} - {0, 1})
    far = [np.bitwise_count(known[step:] ^ known[:-step]).astype(np.int64) for step in steps]
    return np.concatenate([np.zeros(0, np.int64), *far])


def _bits_between(hashes: NDArray[np.uint64]) -> tuple[Integers, NDArray[np.bool_]]:
    """Return in how many bits each hash and the next differ, and whether both are known."""
    bits = np.bitwise_count(hashes[1:] ^ hashes[:-1]).astype(np.int64)
    return bits, (hashes[1:] != 0) & (hashes[:-1] != 0)


def describe(leak: Leak, table: SampleTable, splits: NDArray[np.int8]) -> str:
    """Return one line about a leak."""
    left, right = (f"{table.ids[p]} ({SPLITS[splits[p]]})" for p in (leak.left, leak.right))
    frames = f"{counted(leak.gap, 'frame')} apart"
    text = f"{left} and {right}: {frames}; the sequence's typical step is {leak.typical_step:g}"
    return text if leak.is_certain else f"{text}; unsure, as the pictures do not tell"
