"""Run lengths: CVAT's (by rows, over a box) and COCO's (by columns, over the image, maybe packed).

All functions give or take `starts` and `lengths` of the set runs, int64, in the order of the scan.
"""

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import MaskError

Integers = NDArray[np.int64]


def runs_of_counts(counts: NDArray[np.int64], pixels: int, where: str) -> tuple[Integers, Integers]:
    """Turns alternating counts, zeros first, into set runs.

    Raises:
        MaskError: a negative count, or a sum that is not `pixels`.
    """
    if counts.size and counts.min() < 0:
        raise MaskError(where, f"a run of {counts.min()}", "run lengths of 0 or more")
    total = int(counts.sum())
    if total != pixels:
        raise MaskError(where, f"run lengths that sum to {total:,}", f"{pixels:,} (width x height)")
    ends = np.cumsum(counts)
    lengths = counts[1::2]
    starts = ends[1::2] - lengths
    some = lengths > 0
    return starts[some], lengths[some]


def unpack_counts(packed: bytes, where: str) -> NDArray[np.int64]:
    """Unpacks COCO's compressed counts.

    Source: cocoapi, `maskApi.c`, rleFrString: 5 bits a character from 48 on, bit 5 continues,
    the last bit 4 is the sign; from the fourth count on, the difference to the count two before.

    Raises:
        MaskError: characters out of range, or an unfinished count.
    """
    codes = np.frombuffer(packed, np.uint8).astype(np.int64) - 48
    if not codes.size:
        return codes
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise MaskError(where, "packed run lengths that cannot be read", "COCO's compressed counts")
    is_last = (codes & 0x20) == 0
    last = np.flatnonzero(is_last)
    first = np.concatenate(([0], last[:-1] + 1))
    if (last - first).max() > 11:
        raise MaskError(where, "a run length of more than 60 bits", "COCO's compressed counts")
    shift = 5 * (np.arange(codes.size) - np.repeat(first, last - first + 1))
    values = np.add.reduceat((codes & 0x1F) << shift, first)
    is_negative = (codes[last] & 0x10) != 0
    values -= np.where(is_negative, np.int64(1) << (shift[last] + 5), 0)
    # Differences accumulate over every second count: 1, 3, 5, ... and 2, 4, 6, ...
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
