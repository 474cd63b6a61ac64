"""Subsets that an export names, taken as splits: `honour_subsets`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.split.grouping import divide
from components.split.sample_table import SampleTable
from components.split.splitting import SPLITS
from segmentor.errors import SplitError
from segmentor.plurals import counted

_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
_SPLIT_OF_WORD = {word: SPLITS.index(split) for split, words in _WORDS.items() for word in words}
_TRAIN = SPLITS.index("train")


def assign_subsets(
    table: SampleTable, ratios: Sequence[float], seed: int, pairs: Sequence[tuple[int, int]] = ()
) -> tuple[NDArray[np.int8], str]:
    """Return the split of each sample by its subset's name, int8 (N,), and what was made up.

    A split that no subset names, and that is to have a share, is taken out of train, at that share.

    Args:
        table: The samples.
        ratios: The shares of SPLITS; they sum to 1.
        seed: Seed of what is taken out of train.
        pairs: Positions that must not be torn apart by it.

    Raises:
        SplitError: a subset with another name, none for train, or one too small to take from.
    """
    names = sorted(set(table.subsets))
    unknown = [name for name in names if name.lower() not in _SPLIT_OF_WORD]
    expected = "subsets called train, val (validation) and test"
    if unknown:
        shown = ", ".join(f"'{name}'" for name in unknown[:8])
        remedy = "rename them in CVAT, or leave honour_subsets out"
        raise SplitError("parameter honour_subsets", f"subset {shown}", expected, remedy)
    of_name = {name: _SPLIT_OF_WORD[name.lower()] for name in names}
    splits = np.array([of_name[name] for name in table.subsets], np.int8)
    if _TRAIN not in of_name.values():
        remedy = "leave honour_subsets out"
        raise SplitError("parameter honour_subsets", "no subset for train", expected, remedy)
    missing = [s for s in range(len(SPLITS)) if s not in of_name.values() and ratios[s]]
    if not missing:
        return splits, ""
    positions = np.flatnonzero(splits == _TRAIN)
    shares = np.array([ratios[s] * (s == _TRAIN or s in missing) for s in range(len(SPLITS))])
    try:
        splits[positions], how = _divide(table, positions, shares / shares.sum(), seed, pairs)
    except SplitError as error:
        where = "parameter honour_subsets: the subset for train, to take from"
        raise SplitError(where, error.found, error.expected, error.remedy) from error
    sizes = {s: counted(int((splits == s).sum()), "sample") for s in missing}
    taken = " and ".join(f"{SPLITS[s]} ({size})" for s, size in sizes.items())
    return splits, f"No subset for {taken}: taken out of train's, {how}."


def _divide(
    table: SampleTable,
    positions: NDArray[np.int64],
    shares: NDArray[np.float64],
    seed: int,
    pairs: Sequence[tuple[int, int]],
) -> tuple[NDArray[np.int8], str]:
    part, how = table.take(positions), "by group"
    if part.group_count == 1:
        part, how = part.ungrouped(), "image by image, as they are of one group"
    elif part.group_count == len(part):
        how = "image by image"
    row_of = dict(zip(positions.tolist(), range(len(positions)), strict=True))
    links = [(row_of[a], row_of[b]) for a, b in pairs if a in row_of and b in row_of]
    return divide(part, links, shares.tolist(), seed)[0], how
