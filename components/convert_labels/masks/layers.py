"""Which shape is on top where: in stretches between the ends of runs, far fewer than pixels.

An image of forty polygons has a million pixels and ten thousand stretches, and all that is asked
of its shapes can be counted on these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.convert_labels.run_lengths import Integers, Runs

# Runs over more stretches than this on average are filled one by one, which is faster then.
LONG_RUN = 60


@dataclass(frozen=True)
class Layers:
    """Shapes stacked on one another; the image is cut at every start and end of a run, by columns.

    Attributes:
        lengths: int64 (N,), the pixels of each stretch; some have none. They cover the image.
        owners: (N,), the position of the shape on top of each, from 1 on; 0 without a shape.
        first, count: int64 (R,), the stretches that each run covers.
        bounds: The runs of shape number n are those from bounds[n - 1] to bounds[n].
    """

    lengths: Integers
    owners: NDArray[np.unsignedinteger]
    first: Integers
    count: Integers
    bounds: tuple[int, ...]

    def of_shape(self, owner: int) -> Integers:
        """Return the stretches that a shape covers, whoever is on top."""
        runs = slice(self.bounds[owner - 1], self.bounds[owner])
        return _positions(self.first[runs], self.count[runs])

    def visible_pixels(self) -> Integers:
        """Return int64 (S + 1,): the pixels where each shape is on top; first, where none is."""
        return _totals(self.owners, self.lengths, len(self.bounds))

    def value_pixels(self, values: NDArray[np.uint8]) -> Integers:
        """Return int64 (256,): the pixels of each mask value; `values` has that of each owner."""
        return _totals(values[self.owners], self.lengths, 256)

    def mask(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the value of each pixel, by columns; `values` has that of each owner."""
        tops = values[self.owners]
        some = self.lengths > 0
        tops, lengths = tops[some], self.lengths[some]
        # Neighbours of one value are one run.
        begins = np.flatnonzero(np.concatenate(([True], tops[1:] != tops[:-1])))
        return np.repeat(tops[begins], np.add.reduceat(lengths, begins))


def stack(covered: Sequence[Runs], pixels: int) -> Layers:
    """Lay shapes over one another, the later on top.

    Args:
        covered: What each shape covers.
        pixels: Those of the image, at least 1.
    """
    starts = np.concatenate([np.zeros(0, np.int64), *(starts for starts, _ in covered)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(lengths for _, lengths in covered)])
    counts = np.array([starts.size for starts, _ in covered], np.int64)
    edges = np.concatenate((starts, starts + lengths))
    order = np.argsort(edges)
    ranks = np.empty(order.size, np.int64)
    ranks[order] = np.arange(order.size)
    # Stretch k lies between the edges k - 1 and k.
    first = ranks[: starts.size] + 1
    count = ranks[starts.size :] + 1 - first
    owner_of_run = np.repeat(np.arange(1, counts.size + 1), counts)
    return Layers(
        lengths=np.diff(edges[order], prepend=0, append=pixels),
        owners=_tops(first, count, owner_of_run, edges.size + 1, counts.size),
        first=first,
        count=count,
        bounds=(0, *np.cumsum(counts).tolist()),
    )


def _tops(
    first: Integers, count: Integers, owner_of_run: Integers, stretches: int, shapes: int
) -> NDArray[np.unsignedinteger]:
    owners = np.zeros(stretches, np.min_scalar_type(shapes))
    if count.sum() <= LONG_RUN * count.size:
        owner = np.repeat(owner_of_run, count).astype(owners.dtype)
        np.maximum.at(owners, _positions(first, count), owner)
        return owners
    # Many shapes, one over the other: in order of the runs, as the later shape is on top.
    for begin, end, owner in zip(
        first.tolist(), (first + count).tolist(), owner_of_run.tolist(), strict=True
    ):
        owners[begin:end] = owner
    return owners


def _positions(first: Integers, count: Integers) -> Integers:
    """Return every number of the ranges that begin at `first` and have `count` numbers."""
    before = np.cumsum(count) - count
    numbers: Integers = np.arange(count.sum()) + np.repeat(first - before, count)
    return numbers


def _totals(keys: NDArray[np.unsignedinteger], amounts: Integers, count: int) -> Integers:
    # Weights are float64, exact up to 2^53.
    totals: Integers = np.bincount(keys, weights=amounts, minlength=count).astype(np.int64)
    return totals
