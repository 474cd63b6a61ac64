"""The numbers in the names of samples: any of them, or all together, may count frames of a film."""

import hashlib
import re
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.split.sample_table import SampleTable

# Up to 18 digits: what fits 64 bits. The rest of a longer number stays in the name.
_NUMBER = re.compile(r"\d{1,18}(?!\d)")
# What a tool added to tell versions of a file apart (Roboflow: drive_0012_jpg.rf.<32 digits>): 16
# hexadecimal digits or more, or a UUID. It differs from frame to frame and counts none.
HASH = re.compile(
    r"(?<![^\W_])(?:(?=\d*[a-f])[\da-f]{16,}|[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})(?![^\W_])",
    re.IGNORECASE,
)

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class NumbersInNames:
    """Every number of every name, without the subset, in the order of the samples.

    Of each number, the position of its sample, how many numbers follow, and a digest of the `rest`
    of the name; of each sample, a digest of its name without all numbers.
    """

    numbers: Integers
    positions: Integers
    ends: Integers
    rests: NDArray[np.uint64]
    templates: NDArray[np.uint64]


def name_of(table: SampleTable, position: int) -> str:
    """Return a sample's name without its subset: a film may be torn into several."""
    sample_id, subset = table.ids[position], table.subsets[position]
    return sample_id.removeprefix(f"{subset}/") if subset else sample_id


def read_numbers(table: SampleTable) -> NumbersInNames:
    """Read the numbers of all names; hashes in them are as if they were not there."""
    numbers, positions, ends = array("q"), array("q"), array("q")
    rests, templates = bytearray(), bytearray()
    for position in range(len(table)):
        name = HASH.sub("\1", name_of(table, position))
        templates += _digest(_NUMBER.sub("\0", name))
        for end, match in enumerate(reversed(list(_NUMBER.finditer(name)))):
            rests += _digest(f"{name[: match.start()]}\0{name[match.end() :]}")
            numbers.append(int(match.group()))
            positions.append(position)
            ends.append(end)
    return NumbersInNames(
        np.frombuffer(numbers, np.int64),
        np.frombuffer(positions, np.int64),
        np.frombuffer(ends, np.int64),
        np.frombuffer(bytes(rests), np.uint64),
        np.frombuffer(bytes(templates), np.uint64),
    )


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
