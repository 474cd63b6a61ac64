"""Which group goes to which split: exact ratios where groups allow, each class in each split.

Iterative stratification of groups (K. Sechidis et al., On the stratification of multi-label data,
2011): the rarest class is dealt out first, each group to the split that lacks most of that class.
Where that leaves a class out of a split that could have it, a search says which groups must go
where, and the others are dealt again. Few groups are settled by trying every division.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.split.coverage import spread_classes
from segmentor.errors import SplitError
from segmentor.plurals import counted

SPLITS = ("train", "val", "test")
# Divisions that are all tried, in a fraction of a second: 12 groups in 3 splits are 531,441.
MAX_DIVISIONS = 600_000
# Share of all samples that a split may have too many, if it would lack a class otherwise.
SLACK = 0.02


@dataclass(frozen=True)
class Units:
    """What is dealt out as a whole: a group, or several that share near duplicates.

    `samples` int64 (U,) counts samples; `classes` int64 (U, K) the samples with each class.
    """

    samples: NDArray[np.int64]
    classes: NDArray[np.int64]


def exact_counts(samples: int, ratios: Sequence[float]) -> list[int]:
    """Divide `samples` by the ratios without losing one: largest remainders get the rest.

    A split with a ratio above 0 gets at least one sample, where there are enough.
    """
    shares = [samples * ratio for ratio in ratios]
    counts = [int(share + 1e-9) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    for index in by_remainder[: samples - sum(counts)]:
        counts[index] += 1
    for index, ratio in enumerate(ratios):
        if ratio and not counts[index] and max(counts) > 1:
            counts[counts.index(max(counts))] -= 1
            counts[index] += 1
    return counts


def assign_units(units: Units, ratios: Sequence[float], seed: int) -> NDArray[np.int8]:
    """Assign each unit to a split: int8 (U,), positions in SPLITS.

    The same units in the same order, ratios and seed give the same answer.

    Raises:
        SplitError: fewer units than splits that must not be empty.
    """
    wanted = [index for index, ratio in enumerate(ratios) if ratio]
    count = len(units.samples)
    if count < len(wanted):
        expected = f"at least {len(wanted)}, one for each of "
        expected += ", ".join(SPLITS[index] for index in wanted)
        found = counted(count, "group")
        remedy = "choose another group_pattern (.* makes each image its own group)"
        samples = int(units.samples.sum())
        if samples < len(wanted):
            found, remedy = counted(samples, "image"), "label more images"
        raise SplitError("data set", found, expected, remedy)
    order = np.random.default_rng(seed).permutation(count)
    shuffled = Units(units.samples[order], units.classes[order])
    targets = np.array(exact_counts(int(units.samples.sum()), ratios), np.int64)
    if len(wanted) ** count <= MAX_DIVISIONS:
        chosen = _best_division(shuffled, targets, wanted)
    else:
        chosen = _deal(shuffled, targets, np.array(ratios), wanted)
    assigned = np.empty(count, np.int8)
    assigned[order] = chosen
    return assigned


def _best_division(units: Units, targets: NDArray[np.int64], wanted: list[int]) -> NDArray[np.int8]:
    """Try all divisions.

    A split's units are one of few sets: what each set has is counted once, and looked up.
    """
    count = len(units.samples)
    sets = (np.arange(1 << count)[:, None] >> np.arange(count) & 1).astype(np.int64)  # (S, U)
    held = _count_held(sets, units, len(wanted))
    # A division is a number to the base of the splits; `members` are its splits' sets, as bits.
    number = np.arange(len(wanted) ** count, dtype=np.int32)
    members = np.zeros((len(wanted), len(number)), np.int32)
    for unit in range(count):
        digit = number // len(wanted) ** unit % len(wanted)
        for split in range(len(wanted)):
            members[split] |= (digit == split).astype(np.int32) << unit
    best = members[:, _best(held[:, members], targets[wanted])]
    chosen = (best[:, None] >> np.arange(count) & 1).argmax(axis=0)  # (U,)
    splits: NDArray[np.int8] = np.array(wanted, np.int8)[chosen]
    return splits


def _count_held(sets: NDArray[np.int64], units: Units, splits: int) -> NDArray[np.int64]:
    """Count samples, units, classes missing, those of `splits` units or more, and their units.

    `sets` (S, U) has a 1 for each unit of a set; the result is (5, S).
    """
    present = (units.classes > 0).astype(np.int64)
    absent = sets @ present == 0  # (S, K)
    common = absent[:, present.sum(axis=0) >= splits]
    missed = absent @ present.sum(axis=0)
    sizes = (sets @ units.samples, sets.sum(axis=1))
    return np.stack((*sizes, absent.sum(axis=1), common.sum(axis=1), missed))


def _best(held: NDArray[np.int64], targets: NDArray[np.int64]) -> int:
    """Choose of divisions: fewest classes missing somewhere, then closest to the target sizes.

    A key decides among those that all keys before it call the best.

    `held` (5, splits, D) is what each split of each division has; train is the first split.
    """
    samples, members, missing, missing_common, missed = held
    off = np.abs(samples - targets[:, None]).sum(axis=0)
    # A class that train lacks cannot be learnt; a size far off is worse than a class val lacks.
    coarse = off // max(1, int(targets.sum()) // 10)
    is_empty = (members == 0).any(axis=0)
    best = np.arange(samples.shape[1])
    # On a tie in the number of missing classes, prefer the division that misses the rarer ones.
    counts = (missing_common.sum(axis=0), missing.sum(axis=0), missed.sum(axis=0))
    for key in (is_empty, missing[0], coarse, *counts, off):
        best = best[key[best] == key[best].min()]
    return int(best[0])


def _deal(
    units: Units, targets: NDArray[np.int64], ratios: NDArray[np.float64], wanted: list[int]
) -> NDArray[np.int8]:
    """Deal; where a class misses in a split, deals again around the units that must go there."""
    dealt = _stratify(units, targets, ratios, wanted, {})
    present = units.classes > 0
    count = present.sum(axis=0)
    # Classes with fewer units than splits cannot be in each: train gets them.
    needs = np.zeros((len(SPLITS), present.shape[1]), np.bool_)
    needs[wanted] = count >= len(wanted)
    needs[0] = count > 0
    has_dealt = np.stack([present[dealt == split].any(axis=0) for split in range(len(SPLITS))])
    missing = int((needs & ~has_dealt).sum())
    if not missing:
        return dealt
    room = np.maximum(targets, np.bincount(dealt, units.samples, len(SPLITS)).astype(np.int64))
    divisions = [dealt]
    # Sizes that are a little off are better than a missing class.
    for slack in (0, int(targets.sum() * SLACK)):
        fixed = spread_classes(present, units.samples, room + slack, needs, missing - 1)
        if fixed is not None:
            divisions.append(_stratify(units, targets, ratios, wanted, fixed))
            has = [present[divisions[-1] == split].any(axis=0) for split in range(len(SPLITS))]
            if not (needs & ~np.stack(has)).any():
                break
    else:
        fixed = _commonest_first(units, room, needs & ~has_dealt)
        divisions.append(_stratify(units, targets, ratios, wanted, fixed))
    held = [
        _count_held((np.stack(divisions) == s).astype(np.int64), units, len(wanted)) for s in wanted
    ]
    return divisions[_best(np.stack(held, axis=1), targets[wanted])]


def _commonest_first(
    units: Units, room: NDArray[np.int64], lacks: NDArray[np.bool_]
) -> dict[int, int]:
    """Give each split a unit of each class that it lacks, the commonest first, while it fits."""
    present, left = units.classes > 0, room.tolist()
    fixed: dict[int, int] = {}
    count = present.sum(axis=0)
    for split, index in sorted(np.argwhere(lacks).tolist(), key=lambda need: -count[need[1]]):
        fitting = np.flatnonzero(present[:, index] & (units.samples <= left[split])).tolist()
        unit = next((unit for unit in fitting if unit not in fixed), None)
        if unit is not None:
            fixed[unit] = split
            left[split] -= int(units.samples[unit])
    return fixed


def _stratify(
    units: Units,
    targets: NDArray[np.int64],
    ratios: NDArray[np.float64],
    wanted: list[int],
    fixed: Mapping[int, int],
) -> NDArray[np.int8]:
    """Deal units one by one; a split takes no more samples than its target while others can.

    Units in `fixed` go to their split, and before all others.
    """
    chosen = np.zeros(len(units.samples), np.int8)
    room = targets.tolist()
    need = (ratios[:, None] * units.classes.sum(axis=0)).tolist()  # samples lacking, by class
    holds = [[False] * units.classes.shape[1] for _ in targets]
    # Train first, so that a class with a single unit can be learnt.
    by_size = sorted(wanted, key=lambda split: (split != 0, -targets[split]))
    order = _dealing_order(units)
    for position, rarest in sorted(order, key=lambda entry: entry[0] not in fixed):
        size = int(units.samples[position])
        options = [split for split in by_size if room[split] >= size]
        if position in fixed:
            options = [fixed[position]]
        if not options:
            options = [max(by_size, key=lambda split: room[split])]
        bare = [split for split in options if rarest >= 0 and not holds[split][rarest]]
        if bare:
            best = bare[0]
        else:
            lack = need if rarest >= 0 else None
            best = max(options, key=lambda s: (lack[s][rarest] if lack else room[s], room[s]))
        chosen[position] = best
        room[best] -= size
        for index in np.flatnonzero(units.classes[position]).tolist():
            need[best][index] -= int(units.classes[position, index])
            holds[best][index] = True
    _fill_empty_splits(chosen, units, wanted)
    return chosen


def _dealing_order(units: Units) -> list[tuple[int, int]]:
    """Return (unit, its rarest class or -1): rarest classes first, then the largest units."""
    present = units.classes > 0
    rarity = present.sum(axis=0)
    ranks = np.empty(len(rarity), np.int64)
    ranks[np.argsort(rarity, kind="stable")] = np.arange(len(rarity))
    none = len(rarity)
    rank = np.where(present, ranks, none).min(axis=1, initial=none)
    class_of_rank = np.append(np.argsort(ranks), -1)
    order = np.lexsort((-units.samples, rank))  # stable: equal ones stay as they were shuffled
    return list(zip(order.tolist(), class_of_rank[rank[order]].tolist(), strict=True))


def _fill_empty_splits(chosen: NDArray[np.int8], units: Units, wanted: list[int]) -> None:
    """Give a split that got nothing the smallest unit of the split with the most units."""
    for split in wanted:
        counts = np.bincount(chosen, minlength=len(SPLITS))
        if not counts[split]:
            donors = np.flatnonzero(chosen == counts.argmax())
            chosen[donors[units.samples[donors].argmin()]] = split
