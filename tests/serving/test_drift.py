import dataclasses
import json
import math

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from running_predictor import running_predictor

from segmentor.contract import METADATA_KEY
from segmentor.image_io import encode_png
from segmentor.onnx_model import OnnxModel
from segmentor.training_reference import TrainingReference, histogram
from serving.drift import LEAST, WINDOW, DriftWatch, stability_index
from serving.engines.loading import ModelSource, load_model
from serving.prediction import PredictionRequest, predict

counts = st.lists(st.integers(0, 1000), min_size=10, max_size=10)


def reference_of(values: list[float]) -> TrainingReference:
    return TrainingReference(len(values), histogram(values), {"road": histogram(values)})


@given(expected=counts, actual=counts)
def test_the_index_is_never_negative_and_nan_only_with_few_images(expected, actual):
    index = stability_index(expected, actual)
    assert math.isnan(index) == (sum(actual) < LEAST or sum(expected) == 0)
    assert math.isnan(index) or index >= 0


def test_equal_shares_have_no_distance_and_disjoint_ones_a_large_one():
    low, high = [500, 500, *[0] * 8], [*[0] * 8, 500, 500]
    assert stability_index(low, low) == 0
    assert stability_index(low, high) > 2


def test_images_drawn_alike_stay_below_the_alarm_however_few():
    generator = np.random.default_rng(0)
    for _ in range(50):
        train, now = (histogram(list(generator.uniform(0, 1, size))) for size in (80, 60))
        assert stability_index(train, now) < 0.25


def test_the_last_images_count_and_older_ones_are_forgotten():
    generator = np.random.default_rng(0)
    watch = DriftWatch(reference_of(list(generator.uniform(0.4, 0.6, 300))))
    assert math.isnan(watch.index("brightness"))
    for value in generator.uniform(0.8, 1, WINDOW):
        watch.observe({"brightness": value, "coverage road": 0.5})
    assert watch.index("brightness") > 1
    for value in generator.uniform(0.4, 0.6, WINDOW):
        watch.observe({"brightness": value, "coverage road": 0.5})
    assert watch.index("brightness") < 0.1


@pytest.fixture
def informed_model(street_model, tmp_path):
    """The street model with a contract that says its training images were dark."""
    model = onnx.load(street_model / "model.onnx")
    contract = OnnxModel(street_model).contract
    dark = histogram([0.15] * 200)
    names = contract.label_map.names
    reference = TrainingReference(200, dark, {name: dark for name in names})
    contract = dataclasses.replace(contract, training_reference=reference)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(contract.to_json())})
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path


def test_the_metrics_page_shows_drift_against_the_training_images(informed_model, tmp_path):
    with running_predictor(informed_model, tmp_path) as running:
        bright = encode_png(np.full((64, 96, 3), 240, np.uint8))
        before = running.client.get("/metrics").text
        assert 'segmentor_drift_index{signal="brightness"} NaN' in before
        for _ in range(LEAST):
            running.client.post("/v1/models/scene:predict", content=bright)
        line = next(
            line
            for line in running.client.get("/metrics").text.splitlines()
            if line.startswith('segmentor_drift_index{signal="brightness"}')
        )
        assert float(line.split()[-1]) > 1


def test_masks_by_a_clients_own_threshold_are_not_counted(road_model, scene_png):
    model = load_model(ModelSource("scene", str(road_model)))
    count = "segmentor_image_brightness_count"
    before = REGISTRY.get_sample_value(count)
    for threshold in (0.001, 0.9):
        predict(model, PredictionRequest((scene_png,), threshold=threshold))
    assert REGISTRY.get_sample_value(count) == before
    for threshold in (None, model.contract.threshold):
        predict(model, PredictionRequest((scene_png,), threshold=threshold))
    assert REGISTRY.get_sample_value(count) == before + 2
