"""What a division needs to know of each sample, in columns: a million samples fit in memory."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import Sample


@dataclass(frozen=True)
class SampleTable:
    """Columns of N samples, in the order of the data set.

    Attributes:
        ids: Their names.
        subsets: Their subsets' names, which repeat.
        groups: int64 (N,), the number of the group; groups are numbered as they appear.
        images: uint64 (N, 2), the first 16 bytes of the image's digest.
        hashes: uint64 (N,), the perceptual hash; 0 when there is none.
        presence: bool (N, K), which classes the mask has.
    """

    ids: list[str]
    subsets: list[str]
    groups: NDArray[np.int64]
    images: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    presence: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return int(self.groups.max(initial=-1)) + 1

    def take(self, positions: NDArray[np.int64]) -> Self:
        """Return the samples at these positions; their groups are numbered anew."""
        return replace(
            self,
            ids=[self.ids[position] for position in positions.tolist()],
            subsets=[self.subsets[position] for position in positions.tolist()],
            groups=np.unique(self.groups[positions], return_inverse=True)[1].astype(np.int64),
            images=self.images[positions],
            hashes=self.hashes[positions],
            presence=self.presence[positions],
        )

    def ungrouped(self) -> Self:
        """Return the samples, each its own group."""
        return replace(self, groups=np.arange(len(self), dtype=np.int64))


def read_table(samples: Iterable[Sample], classes: int) -> SampleTable:
    """Read the samples into columns, one in memory at a time."""
    ids: list[str] = []
    subsets: list[str] = []
    names: dict[str, str] = {}
    group_numbers: dict[str, int] = {}
    groups: list[int] = []
    images = bytearray()
    hashes: list[int] = []
    presence = bytearray()
    for sample in samples:
        ids.append(sample.id)
        subsets.append(names.setdefault(sample.subset, sample.subset))
        groups.append(group_numbers.setdefault(sample.group, len(group_numbers)))
        images += bytes.fromhex(sample.image_digest.removeprefix("sha256:")[:32])
        hashes.append(int(sample.perceptual_hash or "0", 16))
        presence += bytes(pixels > 0 for pixels in sample.class_pixels)
    count = len(ids)
    return SampleTable(
        ids,
        subsets,
        np.array(groups, np.int64),
        np.frombuffer(bytes(images), np.uint64).reshape(count, 2),
        np.array(hashes, np.uint64),
        np.frombuffer(bytes(presence), np.bool_).reshape(count, classes),
    )
