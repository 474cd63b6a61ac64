import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.deploy.gate.champion import paired_difference, read_scores


def _scores(values, groups=None):
    groups = groups or [f"g{index}" for index in range(len(values))]
    return {f"i{index}": (groups[index], value) for index, value in enumerate(values)}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=25)
def test_a_model_against_itself_differs_by_nothing(values):
    difference = paired_difference(_scores(values), _scores(values))
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
@settings(max_examples=25)
def test_swapping_the_two_mirrors_the_mean(pairs):
    ours, theirs = _scores([a for a, _ in pairs]), _scores([b for _, b in pairs])
    there, back = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert there.mean == pytest.approx(-back.mean)
    assert there.low <= there.high


def test_a_clear_loss_has_its_whole_interval_below_zero():
    champion = [0.9] * 40
    challenger = list(0.85 + np.random.default_rng(1).normal(0, 0.01, 40))
    difference = paired_difference(_scores(challenger), _scores(champion))
    assert difference.high < 0
    assert difference.mean == pytest.approx(-0.05, abs=0.01)


def test_noise_alone_does_not_condemn():
    generator = np.random.default_rng(2)
    champion = generator.uniform(0.6, 0.95, 40)
    challenger = champion + generator.normal(0, 0.02, 40)
    difference = paired_difference(_scores(challenger), _scores(champion))
    assert difference.low < 0 < difference.high


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        values = list(generator.normal(0.1, 0.05, 30))
        difference = paired_difference(_scores(values), _scores([0.0] * 30))
        covered += difference.low <= 0.1 <= difference.high
    assert 0.88 <= covered / 200 <= 0.99


def test_groups_widen_the_interval():
    # Ten images of one drive say hardly more than one.
    values = [0.1] * 10 + [-0.1] * 10 + [0.05] * 10
    drives = [f"d{index // 10}" for index in range(30)]
    grouped = paired_difference(_scores(values, drives), _scores([0.0] * 30, drives))
    single = paired_difference(_scores(values), _scores([0.0] * 30))
    assert grouped.high - grouped.low > 2 * (single.high - single.low)


def test_only_common_images_count():
    ours = {"a": ("a", 0.5), "b": ("b", 0.9)}
    difference = paired_difference(ours, {"a": ("a", 0.4), "c": ("c", 1.0)})
    assert (difference.images, difference.mean) == (1, pytest.approx(0.1))
    assert paired_difference(ours, {"z": ("z", 0.1)}) is None


def test_undefined_scores_are_left_out():
    text = "image,group,dice_loss,iou_score\na,g,0.1,0.9\nb,g,nan,nan\nc,,0.2,\nd,,0.2,0.8\n"
    scores = read_scores(text)
    assert scores == {"a": ("g", 0.9), "d": ("d", 0.8)}
    assert all(math.isfinite(value) for _, value in scores.values())
