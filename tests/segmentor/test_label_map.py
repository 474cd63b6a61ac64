import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentor.errors import LabelMapError
from segmentor.label_map import (
    LabelClass,
    LabelMap,
    class_colour,
    class_palette,
    voc_palette,
)

NAMES = st.lists(
    st.text(min_size=1).filter(lambda name: name.strip()), min_size=1, max_size=255, unique=True
)


@given(NAMES)
def test_json_round_trip_keeps_every_label_map(names):
    label_map = LabelMap.of(names)
    assert LabelMap.from_json(json.loads(json.dumps(label_map.to_json()))) == label_map


def test_background_and_one_class_is_binary_with_one_channel():
    assert LabelMap.of(["background", "road"]).channels == 1
    assert LabelMap.of(["road", "pavement"]).channels == 2
    assert LabelMap.of(["background", "road", "car"]).channels == 3


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "0 classes"),
        ((LabelClass("a", (0, 0, 0)), LabelClass("a", (1, 1, 1))), "'a' twice"),
        ((LabelClass(" ", (0, 0, 0)),), "without a name"),
        ((LabelClass("a", (0, 0, 256)),), "colour"),
    ],
)
def test_wrong_label_maps_are_refused(classes, message):
    with pytest.raises(LabelMapError, match=message):
        LabelMap(classes)


def test_unknown_class_names_the_classes_there_are():
    with pytest.raises(LabelMapError, match="no class 'car', expected one of background, road"):
        LabelMap.of(["background", "road"]).index("car")


@pytest.mark.parametrize("value", [{}, {"classes": [{"name": "a"}], "ignore_index": 255}, None, 3])
def test_malformed_json_is_an_error_not_a_crash(value):
    with pytest.raises(LabelMapError):
        LabelMap.from_json(value)


def test_voc_palette_starts_as_the_development_kit_says():
    assert voc_palette()[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert len(np.unique(voc_palette(), axis=0)) == 256


def test_colours_of_classes_are_of_one_brightness_and_far_from_each_other():
    rgb = class_palette()[None].astype(np.float32) / 255
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)[0]
    assert len(lab) == 255
    assert lab[:, 0].min() > 60
    assert lab[:, 0].max() < 76
    for count, least in ((2, 100), (11, 40), (19, 25), (255, 4)):
        some = lab[:count]
        apart = np.linalg.norm(some[:, None] - some[None], axis=2) + 999 * np.eye(count)
        assert apart.min() > least, count


def test_a_first_class_is_black_only_where_it_is_the_background():
    assert LabelMap.of(["background", "road"]).classes[0].colour == (0, 0, 0)
    assert min(map(max, [c.colour for c in LabelMap.of(["sky", "road"]).classes])) > 150
    assert class_colour(255) == class_colour(0, "sky")
