"""Regions where a label and a prediction differ."""

import numpy as np
import pytest
from builders import write_dataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from red_model import LABEL_MAP, write_red_model
from red_pictures import label, picture

from segmentor.label_map import IGNORE_INDEX, LabelMap
from segmentor.model import open_model
from segmentor.ranking.labels import BORDER, MISSED, WRONG_CLASS, contradicted_regions
from segmentor.ranking.ranking import rank

OBJECT = (20, 30, 40, 60)


def ranked(tmp_path, wrong):
    """Rank six images with an object each; the label of the fourth is another one."""
    samples = [
        (f"image_{n}", picture(OBJECT), wrong if n == 3 else label(OBJECT), f"drive_{n}")
        for n in range(6)
    ]
    dataset = write_dataset(tmp_path / "dataset", iter(samples), LABEL_MAP)
    return rank(open_model(write_red_model(tmp_path / "model"), threads=1), dataset, [])


@pytest.mark.parametrize(
    ("wrong", "kind", "box"),
    [
        (label(), MISSED, OBJECT),
        (label(OBJECT, (2, 2, 12, 12)), WRONG_CLASS, (2, 2, 12, 12)),
        (label((20, 38, 40, 68)), BORDER, (20, 30, 40, 38)),
    ],
    ids=["dropped", "invented", "shifted"],
)
def test_the_wrong_label_comes_first(tmp_path, wrong, kind, box):
    ranking = ranked(tmp_path, wrong)
    first = ranking.suspicions[0]
    assert (first.sample, first.group, first.region.kind) == ("image_3", "drive_3", kind)
    assert first.region.box == box
    assert {item.sample for item in ranking.suspicions} == {"image_3"}
    assert ranking.labelled == 6


def test_a_swapped_class_is_named():
    classes = LabelMap.of(["background", "car", "bus"])
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 10:40] = 1
    probability = np.full((3, 40, 60), 0.02, np.float32)
    probability[0], probability[2][truth == 1] = 0.96, 0.96
    probability[0][truth == 1] = 0.02
    (region,) = contradicted_regions(truth, np.where(truth, 2, 0).astype(np.uint8), probability)
    names = classes.names[region.labelled], classes.names[region.predicted]
    assert (region.kind, *names) == (WRONG_CLASS, "car", "bus")
    assert region.pixels == 600
    # -log(0.02), and the innermost of twenty rows is ten pixels from the edge.
    assert region.score == pytest.approx(3.912 * np.sqrt(10), rel=1e-3)


def test_what_the_model_rules_out_is_more_suspicious_than_what_it_doubts():
    truth = label(OBJECT)
    nothing = np.zeros_like(truth)
    sure, unsure = (np.full((1, *truth.shape), value, np.float32) for value in (0.01, 0.4))
    (first,) = contradicted_regions(truth, nothing, sure)
    (second,) = contradicted_regions(truth, nothing, unsure)
    assert first.score > second.score


MASKS = arrays(np.uint8, (12, 14), elements=st.sampled_from([0, 1, 2, IGNORE_INDEX]))
PREDICTIONS = arrays(np.uint8, (12, 14), elements=st.integers(0, 2))


@given(truth=MASKS, mask=PREDICTIONS, least=st.integers(1, 9))
def test_every_pixel_that_differs_is_in_one_region_that_is_large_enough(truth, mask, least):
    probability = np.full((3, 12, 14), 1 / 3, np.float32)
    regions = contradicted_regions(truth, mask, probability, 1)
    differs = (truth != mask) & (truth != IGNORE_INDEX)
    assert sum(region.pixels for region in regions) == differs.sum()
    for region in regions:
        top, left, bottom, right = region.box
        window = np.s_[top:bottom, left:right]
        inside = (truth[window] == region.labelled) & (mask[window] == region.predicted)
        assert region.pixels <= inside.sum()
        assert region.labelled != region.predicted
        assert region.score >= 0
    large = contradicted_regions(truth, mask, probability, least)
    assert large == [region for region in regions if region.pixels >= least]
