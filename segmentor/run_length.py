"""COCO's run-length encoding of a mask: a compressed RLE for each class."""

import numpy as np
from numpy.typing import NDArray

# COCO writes a count in groups of five bits, least significant first; bit 5 means that more follow,
# and the characters start at '0'. Source: rleToString in cocoapi/common/maskApi.c.
_GROUP_BITS = 5
_MORE = 0x20
_SIGN = 0x10
_FIRST_CHARACTER = 48


class ClassRuns:
    """The runs of equal values of a mask, column by column; every class is read from them."""

    def __init__(self, mask: NDArray[np.uint8]) -> None:
        """Find the runs of a mask, uint8 (H, W)."""
        self.size = (int(mask.shape[0]), int(mask.shape[1]))
        columns = mask.T.ravel()  # COCO counts down the columns
        changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
        self._starts = np.concatenate(([0], changes))
        self._values = columns[self._starts]
        self._lengths = np.diff(np.append(self._starts, columns.size))

    def pixels(self, classes: int) -> list[int]:
        """Return the number of pixels of each of the first `classes` values."""
        counts = np.zeros(256, np.int64)
        np.add.at(counts, self._values, self._lengths)
        return [int(count) for count in counts[:classes]]

    def counts(self, index: int) -> str:
        """Return COCO's compressed counts of one class index."""
        inside = self._values == index
        edges = self._starts[1:][inside[1:] != inside[:-1]]
        # The first count is that of pixels outside; it may be 0.
        first = [0, 0] if inside[0] else [0]
        bounds = np.concatenate((first, edges, [self.size[0] * self.size[1]]))
        return _compress(np.diff(bounds))


def _compress(counts: NDArray[np.int64]) -> str:
    values = counts.astype(np.int64)
    # From the fourth count on, COCO stores the difference to the one two before.
    values[3:] = counts[3:] - counts[1:-2]
    columns = []
    open_ = np.ones(len(values), bool)
    while open_.any():
        group = values & 0x1F
        values = values >> _GROUP_BITS
        more = np.where(group & _SIGN, values != -1, values != 0)
        characters = (group | np.where(more, _MORE, 0)) + _FIRST_CHARACTER
        columns.append(np.where(open_, characters, 0))
        open_ &= more
    # (counts, groups): row by row, without the groups that a count does not need
    table = np.stack(columns, axis=1).astype(np.uint8)
    return bytes(table[table != 0]).decode("ascii")
