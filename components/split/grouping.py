"""Units of a split: groups, joined where they share an image or near duplicates; their division."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.split.sample_table import SampleTable
from components.split.splitting import Units, assign_units
from segmentor.errors import SplitError

# How many pairs of images that join groups an error names.
_PAIRS_NAMED = 3


@dataclass(frozen=True)
class Grouped:
    """The units, the unit of each sample, int64 (N,), and the pairs of samples that join groups."""

    units: Units
    unit_of_sample: NDArray[np.int64]
    joins: tuple[tuple[int, int], ...]


def divide(
    table: SampleTable, pairs: Sequence[tuple[int, int]], ratios: Sequence[float], seed: int
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Divide samples by group; return the split of each, int8 (N,), and the units' sizes.

    Args:
        table: The samples.
        pairs: Positions of images that must not be torn apart. Equal images never are.
        ratios: The shares of SPLITS.
        seed: Seed of the division.

    Raises:
        SplitError: fewer units than splits that must not be empty.
    """
    grouped = group_samples(table, pairs)
    try:
        chosen = assign_units(grouped.units, ratios, seed)
    except SplitError as error:
        if not grouped.joins:
            raise
        raise _explained(error, table, pairs, grouped, sum(map(bool, ratios))) from error
    return chosen[grouped.unit_of_sample], grouped.units.samples


def _explained(
    error: SplitError,
    table: SampleTable,
    pairs: Sequence[tuple[int, int]],
    grouped: Grouped,
    wanted: int,
) -> SplitError:
    """Say which images join the groups, and offers only what would help."""
    named = [f"{table.ids[a]} and {table.ids[b]}" for a, b in grouped.joins[:_PAIRS_NAMED]]
    more = ", ..." if len(grouped.joins) > len(named) else ""
    found = f"{error.found}, after {table.group_count} were joined because images are equal or"
    found += f" look the same ({', '.join(named)}{more})"
    if len(group_samples(table).units.samples) >= wanted:
        remedy = "--near-duplicates report keeps those apart that are not equal"
    elif len(group_samples(table.ungrouped(), pairs).units.samples) >= wanted:
        remedy = "delete the copies in CVAT, or choose a finer --group-pattern"
        remedy += " (.* makes each image its own group)"
    else:
        remedy = "label images that differ"
    return SplitError(error.where, found, error.expected, remedy)


def group_samples(table: SampleTable, pairs: Sequence[tuple[int, int]] = ()) -> Grouped:
    """Join samples of one group, of one image file, and of each pair of positions.

    Units are numbered by their first sample.
    """
    roots = list(range(table.group_count))
    joins = []
    for left, right in [*_equal_images(table), *pairs]:
        a, b = _root(roots, int(table.groups[left])), _root(roots, int(table.groups[right]))
        if a != b:
            joins.append((left, right))
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
    return Grouped(Units(sizes, classes), unit_of_sample, tuple(joins))


def _equal_images(table: SampleTable) -> list[tuple[int, int]]:
    """Return pairs of positions with the same image file: each with the next one."""
    order = np.lexsort((table.images[:, 1], table.images[:, 0]))
    same = (table.images[order[1:]] == table.images[order[:-1]]).all(axis=1)
    pairs = zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True)
    return list(pairs)


def _root(roots: list[int], position: int) -> int:
    while roots[position] != position:
        roots[position] = roots[roots[position]]
        position = roots[position]
    return position
