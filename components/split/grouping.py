"""Units of a split: groups, joined where they share an image or near duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.split.splitting import Units
from segmentor.dataset import Sample


@dataclass(frozen=True)
class Grouped:
    """The units, and the unit of each sample: int64 (N,)."""

    units: Units
    unit_of_sample: NDArray[np.int64]


def group_samples(
    samples: Sequence[Sample], classes: int, pairs: Sequence[tuple[int, int]] = ()
) -> Grouped:
    """Joins samples of one group, of one image file, and of each pair of positions.

    Units are numbered by their first sample.
    """
    roots = np.arange(len(samples))
    first: dict[str, int] = {}
    links = list(pairs)
    for position, sample in enumerate(samples):
        # A group's name cannot be mistaken for a digest: the prefixes differ.
        for key in (f"group:{sample.group}", sample.image_digest):
            other = first.setdefault(key, position)
            if other != position:
                links.append((other, position))
    for left, right in links:
        a, b = _root(roots, left), _root(roots, right)
        roots[max(a, b)] = min(a, b)
    resolved = np.array([_root(roots, position) for position in range(len(samples))])
    _, unit_of_sample = np.unique(resolved, return_inverse=True)
    count = int(unit_of_sample.max(initial=-1)) + 1
    sizes = np.bincount(unit_of_sample, minlength=count)
    present = np.zeros((count, classes), np.int64)
    has = np.array([[pixels > 0 for pixels in s.class_pixels] for s in samples], np.int64)
    np.add.at(present, unit_of_sample, has.reshape(len(samples), classes))
    return Grouped(Units(sizes.astype(np.int64), present), unit_of_sample)


def _root(roots: NDArray[np.int64], position: int) -> int:
    while roots[position] != position:
        roots[position] = roots[roots[position]]
        position = int(roots[position])
    return position
