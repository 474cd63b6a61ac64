"""Units of a split: groups, joined where they share an image or near duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.split.sample_table import SampleTable
from components.split.splitting import Units


@dataclass(frozen=True)
class Grouped:
    """The units, and the unit of each sample: int64 (N,)."""

    units: Units
    unit_of_sample: NDArray[np.int64]


def group_samples(table: SampleTable, pairs: Sequence[tuple[int, int]] = ()) -> Grouped:
    """Joins samples of one group, of one image file, and of each pair of positions.

    Units are numbered by their first sample.
    """
    roots = list(range(table.group_count))
    links = [*_equal_images(table), *pairs]
    for left, right in links:
        a, b = _root(roots, int(table.groups[left])), _root(roots, int(table.groups[right]))
        roots[max(a, b)] = min(a, b)
    resolved = np.array([_root(roots, group) for group in range(len(roots))], np.int64)
    _, unit_of_group = np.unique(resolved, return_inverse=True)
    unit_of_sample = unit_of_group[table.groups].astype(np.int64)
    count = int(unit_of_group.max(initial=-1)) + 1
    sizes = np.bincount(unit_of_sample, minlength=count).astype(np.int64)
    classes = np.stack(
        [
            np.bincount(unit_of_sample, table.presence[:, index], count).astype(np.int64)
            for index in range(table.presence.shape[1])
        ],
        axis=1,
    )
    return Grouped(Units(sizes, classes), unit_of_sample)


def _equal_images(table: SampleTable) -> list[tuple[int, int]]:
    """Pairs of positions with the same image file: each with the next one of its kind."""
    order = np.lexsort((table.images[:, 1], table.images[:, 0]))
    same = (table.images[order[1:]] == table.images[order[:-1]]).all(axis=1)
    pairs = zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True)
    return list(pairs)


def _root(roots: list[int], position: int) -> int:
    while roots[position] != position:
        roots[position] = roots[roots[position]]
        position = roots[position]
    return position
