import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentor.errors import LabelMapError
from segmentor.label_map import LabelClass, LabelMap, voc_palette

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
