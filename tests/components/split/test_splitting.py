"""The division: exact, whole groups, every class everywhere it can be, the same for a seed."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.split.grouping import group_samples
from components.split.options import parse_ratios
from components.split.sample_table import read_table
from components.split.splitting import (
    SPLITS,
    Units,
    assign_units,
    exact_counts,
)
from segmentor.digests import digest_bytes
from segmentor.errors import ConfigError, SplitError
from tests.components.split.split_builders import sample

RATIOS = (0.7, 0.2, 0.1)


def single(count: int, classes: int = 1) -> Units:
    return Units(np.ones(count, np.int64), np.ones((count, classes), np.int64))


@given(st.integers(3, 500), st.integers(0, 5))
def test_single_samples_are_divided_exactly(count: int, seed: int) -> None:
    chosen = assign_units(single(count), RATIOS, seed)
    assert np.bincount(chosen, minlength=3).tolist() == exact_counts(count, RATIOS)


@given(st.integers(1, 10_000), st.tuples(*[st.floats(0.01, 1)] * 3))
def test_exact_counts_lose_no_sample_and_are_off_by_less_than_one(
    count: int, shares: tuple[float, float, float]
) -> None:
    ratios = [share / sum(shares) for share in shares]
    counts = exact_counts(count, ratios)
    assert sum(counts) == count
    if count > 300:
        assert all(abs(n - count * r) < 1.0001 for n, r in zip(counts, ratios, strict=True))


groups_of_samples = st.lists(
    st.tuples(st.integers(1, 30), st.sets(st.integers(0, 4), min_size=1)), min_size=3, max_size=60
)


@settings(max_examples=40)
@given(groups_of_samples, st.integers(0, 3))
def test_no_split_is_empty_and_the_same_seed_gives_the_same_answer(
    groups: list[tuple[int, set[int]]], seed: int
) -> None:
    classes = np.zeros((len(groups), 5), np.int64)
    for position, (size, present) in enumerate(groups):
        classes[position, list(present)] = size
    units = Units(np.array([size for size, _ in groups], np.int64), classes)
    chosen = assign_units(units, RATIOS, seed)
    assert set(chosen.tolist()) == {0, 1, 2}
    assert (assign_units(units, RATIOS, seed) == chosen).all()


def test_another_seed_gives_another_division() -> None:
    divisions = {assign_units(single(50), RATIOS, seed).tobytes() for seed in range(5)}
    assert len(divisions) == 5


def test_many_groups_of_several_samples_come_close_to_the_ratios() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 40, 200)
    units = Units(sizes, (random.random((200, 6)) < 0.3) * sizes[:, None])
    chosen = assign_units(units, RATIOS, 1)
    shares = np.bincount(chosen, sizes, 3) / sizes.sum()
    assert np.abs(shares - RATIOS).max() < 0.02


@pytest.mark.parametrize("count", [7, 40, 1000])
def test_a_class_of_three_groups_is_in_every_split(count: int) -> None:
    classes = np.zeros((count, 2), np.int64)
    classes[:, 0] = 1
    classes[:3, 1] = 1
    for seed in range(5):
        chosen = assign_units(Units(np.ones(count, np.int64), classes), RATIOS, seed)
        assert set(chosen[:3].tolist()) == {0, 1, 2}


def everywhere(present: NDArray[np.bool_], chosen: NDArray[np.int8]) -> bool:
    """Each class of three units or more in each split, and train has every class."""
    common = present.sum(axis=0) >= 3
    parts = [present[chosen == split].any(axis=0) for split in range(3)]
    return all(part[common].all() for part in parts) and parts[0][present.any(axis=0)].all()


def can_be_everywhere(present: NDArray[np.bool_], counts: list[int]) -> bool:
    """Try every division into parts of these sizes."""
    everyone = range(len(present))
    for test in itertools.combinations(everyone, counts[2]):
        for val in itertools.combinations(sorted(set(everyone) - set(test)), counts[1]):
            chosen = np.zeros(len(present), np.int8)
            chosen[list(val)] = 1
            chosen[list(test)] = 2
            if everywhere(present, chosen):
                return True
    return False


# More units than are settled by trying all divisions.
class_tables = st.integers(1, 6).flatmap(
    lambda classes: st.lists(
        st.lists(st.booleans(), min_size=classes, max_size=classes), min_size=13, max_size=14
    )
)


@settings(max_examples=60, deadline=None)
@given(class_tables, st.integers(0, 7))
def test_each_class_is_in_each_split_whenever_some_division_of_that_size_has_it(
    table: list[list[bool]], seed: int
) -> None:
    present = np.array(table, np.bool_)
    units = Units(np.ones(len(table), np.int64), present.astype(np.int64))
    chosen = assign_units(units, RATIOS, seed)
    counts = exact_counts(len(table), RATIOS)
    assert np.bincount(chosen, minlength=3).tolist() == counts
    assert everywhere(present, chosen) or not can_be_everywhere(present, counts)


@pytest.mark.parametrize(("common", "rare"), [(17, 0), (17, 3), (10, 0), (10, 3), (4, 0)])
def test_classes_that_tie_are_in_each_split_for_every_seed(common: int, rare: int) -> None:
    # Seed 0 once gave test none of the 17 of 20 images with a class.
    present = np.zeros((20, 4), np.bool_)
    present[:, 0] = True
    present[:common, 1] = True
    present[20 - common :, 2] = True
    present[5 : 5 + rare, 3] = True
    for seed in range(20):
        units = Units(np.ones(20, np.int64), present.astype(np.int64))
        assert everywhere(present, assign_units(units, RATIOS, seed))


@pytest.mark.parametrize(("common", "rare"), [(17, 3), (6, 3)], ids=["dealt", "all tried"])
def test_where_one_of_two_classes_must_miss_it_is_the_rarer(common: int, rare: int) -> None:
    classes = np.zeros((common + rare, 2), np.int64)
    classes[:common, 0] = classes[common:, 1] = 1
    for seed in range(5):
        units = Units(np.ones(common + rare, np.int64), classes)
        chosen = assign_units(units, (0.98, 0.01, 0.01), seed)
        assert np.bincount(chosen).tolist() == [common + rare - 2, 1, 1]
        assert chosen[common:].tolist() == [0] * rare


def test_many_classes_in_many_units_are_spread_in_seconds() -> None:
    random = np.random.default_rng(0)
    present = random.random((5000, 250)) < 0.01
    units = Units(np.ones(5000, np.int64), present.astype(np.int64))
    start = time.process_time()
    assert everywhere(present, assign_units(units, RATIOS, 0))
    assert time.process_time() - start < 10


def test_groups_of_any_size_lose_no_class_that_thirty_of_them_can_spread() -> None:
    random = np.random.default_rng(1)
    for seed in range(20):
        sizes = random.integers(1, 30, 30)
        present = random.random((30, 6)) < 0.25
        chosen = assign_units(Units(sizes, present * sizes[:, None]), RATIOS, seed)
        common = present.sum(axis=0) >= 3
        assert all(present[chosen == split][:, common].any(axis=0).all() for split in range(3))
        shares = np.bincount(chosen, sizes, 3) / sizes.sum()
        assert np.abs(shares - RATIOS).max() < 0.05


def planted(random: np.random.Generator, count: int, classes: int) -> tuple[Units, list[float]]:
    """Groups of a known division that has each class in each split, in one group of it alone."""
    sizes = random.integers(1, 31, count)
    home = np.concatenate([[0, 1, 2], random.choice(3, count - 3, p=RATIOS)])
    present = np.zeros((count, classes), np.bool_)
    for index in range(classes):
        for split in range(3):
            present[random.choice(np.flatnonzero(home == split)), index] = True
    ratios = np.bincount(home, sizes, 3) / sizes.sum()
    return Units(sizes, present * sizes[:, None]), ratios.tolist()


@pytest.mark.parametrize(("count", "classes"), [(20, 10), (40, 20)])
def test_classes_of_three_groups_each_are_in_every_split_where_a_division_is_known(
    count: int, classes: int
) -> None:
    # More groups than are tried out, and no class has one to spare.
    for seed in range(20):
        units, ratios = planted(np.random.default_rng(seed), count, classes)
        chosen = assign_units(units, ratios, seed)
        assert everywhere(units.classes > 0, chosen), seed
        shares = np.bincount(chosen, units.samples, 3) / units.samples.sum()
        assert np.abs(shares - ratios).max() < 0.05


def test_a_class_of_one_group_is_learnt() -> None:
    classes = np.ones((6, 2), np.int64)
    classes[1:, 1] = 0
    for seed in range(5):
        assert assign_units(Units(np.ones(6, np.int64), classes), RATIOS, seed)[0] == 0


def test_classes_keep_their_shares() -> None:
    random = np.random.default_rng(0)
    classes = (random.random((2000, 4)) < [0.5, 0.2, 0.05, 0.02]).astype(np.int64)
    chosen = assign_units(Units(np.ones(2000, np.int64), classes), RATIOS, 0)
    for index in range(4):
        shares = np.bincount(chosen, classes[:, index], 3) / classes[:, index].sum()
        assert np.abs(shares - RATIOS).max() < 0.04


def test_fewer_groups_than_splits_are_refused_with_what_to_do() -> None:
    groups = Units(np.array([5, 2]), np.ones((2, 1), np.int64))
    with pytest.raises(SplitError, match=r"2 groups, expected at least 3, .* group_pattern"):
        assign_units(groups, RATIOS, 0)
    # No pattern makes three groups of two images.
    with pytest.raises(SplitError, match=r"2 images, expected at least 3, .*; label more images"):
        assign_units(single(2), RATIOS, 0)
    assert set(assign_units(single(2), (0.5, 0.5, 0.0), 0).tolist()) == {0, 1}


@pytest.mark.parametrize(
    "text",
    ["0.7,0.3", "a,b,c", "-1,1,1", "0,1,1", "8,2,0", "0.8,0,0.2", "nan,1,1", "inf,1,1", ""]
    + ["1e308,1e308,1e308"],
)
def test_ratios_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--ratios"):
        parse_ratios(text)


def test_whole_numbers_are_shares_and_fractions_sum_to_one() -> None:
    assert parse_ratios("7,2,1") == parse_ratios("70, 20, 10") == pytest.approx(RATIOS)
    assert parse_ratios("0.333,0.333,0.333") == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    with pytest.raises(
        ConfigError, match=r"'0\.7,0\.2,0\.2', whose sum is 1\.1, expected a sum of 1"
    ):
        parse_ratios("0.7,0.2,0.2")


def test_samples_of_a_group_of_an_image_and_of_a_pair_are_one_unit() -> None:
    samples = [
        sample("a", "one"),
        sample("b", "two"),
        sample("c", "one"),
        sample("d", "three", image_digest=digest_bytes(b"same")),
        sample("e", "four", image_digest=digest_bytes(b"same")),
        sample("f", "five", classes=(1, 0, 1)),
    ]
    grouped = group_samples(read_table(samples, 3), [(1, 5)])
    assert grouped.unit_of_sample.tolist() == [0, 1, 0, 2, 2, 1]
    assert grouped.units.samples.tolist() == [2, 2, 2]
    assert grouped.units.classes.tolist() == [[2, 2, 2], [2, 1, 2], [2, 2, 2]]
    assert len(SPLITS) == 3


def lacking(present: NDArray[np.bool_], divisions: NDArray[np.int8]) -> NDArray[np.int64]:
    """Counts what each of (D, U) lacks: classes of three units in a split, and any in train."""
    needed = present[:, present.sum(axis=0) >= 3]
    parts = [divisions == split for split in range(3)]
    missing = [(part @ needed == 0).sum(axis=1) for part in parts]
    return np.sum(missing, axis=0) + (parts[0] @ present[:, present.any(axis=0)] == 0).sum(axis=1)


def test_nine_groups_of_any_size_miss_no_class_that_some_division_of_those_sizes_has() -> None:
    random = np.random.default_rng(0)
    divisions = np.array(list(itertools.product(range(3), repeat=9)), np.int8)
    for seed in range(40):
        sizes = random.integers(1, 6, 9)
        present = random.random((9, 4)) < random.uniform(0.15, 0.6, 4)
        chosen = assign_units(Units(sizes, present * sizes[:, None]), RATIOS, seed)
        same = np.all(
            [(divisions == s) @ sizes == (chosen == s) @ sizes for s in (0, 1, 2)], axis=0
        )
        if lacking(present, chosen[None])[0]:
            assert lacking(present, divisions[same]).min() > 0
