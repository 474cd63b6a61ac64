"""Subsets that an export names, taken as splits: `--honour-subsets`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.split.splitting import SPLITS
from segmentor.errors import SplitError

_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
_SPLIT_OF_WORD = {word: SPLITS.index(split) for split, words in _WORDS.items() for word in words}


def assign_subsets(subsets: Sequence[str]) -> NDArray[np.int8]:
    """Returns the split of each sample by its subset's name: int8 (N,), positions in SPLITS.

    Raises:
        SplitError: a subset that is no split's, or a split that no subset names.
    """
    names = sorted(set(subsets))
    unknown = [name for name in names if name.lower() not in _SPLIT_OF_WORD]
    expected = "subsets called train, val (validation) and test"
    if unknown:
        shown = ", ".join(f"'{name}'" for name in unknown[:8])
        remedy = "rename them in CVAT, or leave --honour-subsets out"
        raise SplitError("--honour-subsets", f"subset {shown}", expected, remedy)
    found = {_SPLIT_OF_WORD[name.lower()] for name in names}
    missing = [split for index, split in enumerate(SPLITS) if index not in found]
    if missing:
        shown = ", ".join(missing)
        raise SplitError("--honour-subsets", f"no subset for {shown}", expected)
    return np.array([_SPLIT_OF_WORD[name.lower()] for name in subsets], np.int8)
