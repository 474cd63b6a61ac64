"""Run lengths: CVAT's (by rows, over a box) and COCO's (by columns, over the image, maybe packed).

All functions give or take `starts` and `lengths` of the set runs, int64, in the order of the scan.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import MaskError

# What to do about a shape that cannot be painted.
REDRAW = "redraw or delete it in CVAT"

Integers = NDArray[np.int64]
Runs = tuple[Integers, Integers]


def runs_of_counts(counts: NDArray[np.int64], pixels: int, where: str) -> Runs:
    """Turn alternating counts, zeros first, into set runs.

    Raises:
        MaskError: a negative count, or a sum that is not `pixels`.
    """
    if counts.size and counts.min() < 0:
        found = f"a run of {counts.min()}"
        raise MaskError(where, found, "run lengths of 0 or more", REDRAW)
    total = int(counts.sum())
    if total != pixels:
        found = f"run lengths that sum to {total:,}"
        raise MaskError(where, found, f"{pixels:,} (width x height)", REDRAW)
    ends = np.cumsum(counts)
    lengths = counts[1::2]
    starts = ends[1::2] - lengths
    some = lengths > 0
    return starts[some], lengths[some]


def unpack_counts(packed: bytes, where: str) -> Integers:
    """Unpack COCO's compressed counts.

    Raises:
        MaskError: characters out of range, or an unfinished count.
    """
    codes = np.frombuffer(packed, np.uint8)
    if not codes.size:
        return np.zeros(0, np.int64)
    if codes.min() < 48 or codes.max() > 111 or (codes[-1] - 48) & 0x20:
        found = "packed run lengths that cannot be read"
        raise MaskError(where, found, "COCO's compressed counts", REDRAW)
    last = np.flatnonzero((codes - 48) & 0x20 == 0)
    if np.diff(last, prepend=-1).max() > 12:
        found = "a run length of more than 60 bits"
        raise MaskError(where, found, "COCO's compressed counts", REDRAW)
    rows, counts = _unpack([packed])
    return rows.ravel()[: counts[0]]


def runs_of_many(packed: Sequence[bytes], pixels: int) -> list[Runs]:
    """Return the set runs of each mask of so many pixels, as pycocotools packed them."""
    rows, counts = _unpack(packed)
    row_counts = (counts + 1) // 2
    # Each mask's counts sum to `pixels`: before it there are only whole masks.
    totals = np.cumsum(rows[:, 0] + rows[:, 1])
    ends = totals - np.repeat(np.arange(len(counts)) * pixels, row_counts)
    lengths = rows[:, 1]
    some = lengths > 0
    starts = (ends - lengths)[some]
    lengths = lengths[some]
    bounds = np.cumsum(np.add.reduceat(some, np.cumsum(row_counts) - row_counts, dtype=np.int64))
    return [
        (starts[begin:end], lengths[begin:end])
        for begin, end in zip([0, *bounds[:-1].tolist()], bounds.tolist(), strict=True)
    ]


def _unpack(packed: Sequence[bytes]) -> tuple[Integers, Integers]:
    """Unpack compressed counts, none of them empty; all at once, as each step costs a call.

    Source: cocoapi, `maskApi.c`, rleFrString: 5 bits a character from 48 on, bit 5 continues,
    the last bit 4 is the sign; from the fourth count on, the difference to the count two before.

    Returns:
        int64 (R, 2) of alternating counts, those of each mask from a new row on, a 0 at its end
        where their number is odd; and int64 (M,), how many counts each mask has.
    """
    codes = np.frombuffer(b"".join(packed), np.uint8) - np.uint8(48)
    is_last = (codes & 0x20) == 0
    last = np.flatnonzero(is_last)
    first = np.concatenate(([0], last[:-1] + 1))
    shift = 5 * (np.arange(codes.size) - np.repeat(first, last - first + 1))
    values = np.add.reduceat((codes & 0x1F).astype(np.int64) << shift, first)
    is_negative = (codes[last] & 0x10) != 0
    values -= np.where(is_negative, np.int64(1) << (shift[last] + 5), 0)
    sizes = np.array([len(text) for text in packed])
    counts = np.diff(np.searchsorted(last, np.cumsum(sizes)), prepend=0)
    row_counts = (counts + 1) // 2
    row_starts = np.cumsum(row_counts) - row_counts
    offset = 2 * row_starts - (np.cumsum(counts) - counts)
    rows = np.zeros((int(row_counts.sum()), 2), np.int64)
    rows.ravel()[np.arange(values.size) + np.repeat(offset, counts)] = values
    # Differences accumulate down each column; the first count of a mask stands outside of that.
    heads = rows[row_starts, 0].copy()
    rows[row_starts, 0] = 0
    total = np.cumsum(rows, axis=0)
    before = np.where(row_starts[:, None] > 0, total[row_starts - 1], 0)
    rows = total - np.repeat(before, row_counts, axis=0)
    rows[row_starts, 0] = heads
    rows[(row_starts + row_counts - 1)[counts % 2 == 1], 1] = 0
    return rows, counts


def runs_by_rows(bits: NDArray[np.bool_]) -> Integers:
    """Return the alternating run lengths of a mask, zeros first, row after row."""
    flat = np.concatenate(([False], bits.ravel(), [not bits.flat[-1] if bits.size else True]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(edges, prepend=0).astype(np.int64)
