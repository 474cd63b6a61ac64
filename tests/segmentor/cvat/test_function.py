import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from cvat_sdk import auto_annotation, masks
from cvat_sdk.api_client.model_utils import to_json
from emulators.cvat_server import TOKEN, Frame, Job, Task
from PIL import Image
from red_model import write_red_model

from segmentor.cvat.function import create
from segmentor.image_io import encode_png
from segmentor.model import open_model


class Context(auto_annotation.DetectionFunctionContext):
    """What CVAT's drivers pass to a function."""

    frame_name = "0.png"

    def __init__(self, conf_threshold=None, conv_mask_to_poly=False):
        self._values = conf_threshold, conv_mask_to_poly

    @property
    def conf_threshold(self):
        return self._values[0]

    @property
    def conv_mask_to_poly(self):
        return self._values[1]


@pytest.fixture
def model(tmp_path):
    return write_red_model(tmp_path / "model")


def picture():
    """Two red squares on black, one of them darker, 40 x 60."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:25, 5:25, 0] = 250
    pixels[10:30, 35:55, 0] = 180
    return pixels


def test_shapes_are_the_models_mask(model):
    shapes = create(str(model)).detect(Context(), Image.fromarray(picture()))
    prediction = open_model(model).predict(picture())
    painted = np.zeros((40, 60), bool)
    for shape in shapes:
        painted |= masks.decode_mask(shape.points, image_width=60, image_height=40)
    np.testing.assert_array_equal(painted, prediction.mask == 1)
    assert [shape.score for shape in shapes] == pytest.approx([250 / 255, 180 / 255], abs=1e-5)


def test_a_threshold_leaves_out_what_is_less_sure(model):
    shapes = create(str(model)).detect(Context(0.9), Image.fromarray(picture()))
    assert len(shapes) == 1


def test_polygons_are_given_where_they_are_asked_for(model):
    shapes = create(str(model)).detect(Context(None, True), Image.fromarray(picture()))
    assert [shape.type.value for shape in shapes] == ["polygon", "polygon"]
    painted = np.zeros((40, 60), np.uint8)
    for shape in shapes:
        points = np.array(shape.points).reshape(-1, 2).round().astype(np.int32)
        cv2.fillPoly(painted, [points], 1)
    np.testing.assert_array_equal(painted, open_model(model).predict(picture()).mask)


def test_parameters_reach_the_components(model):
    assert not create(str(model), least_pixels=10_000).detect(Context(), Image.fromarray(picture()))
    function = create(str(model), most_shapes=1)
    assert len(function.detect(Context(), Image.fromarray(picture()))) == 1


def test_the_specification_names_the_classes_without_the_background(model):
    (label,) = create(str(model)).spec.labels
    assert to_json(label) == {"name": "road", "id": 1, "type": "mask"}


def test_cvat_cli_annotates_a_task(model, records, address, tmp_path):
    frames = [
        Frame(f"{n}.png", encode_png(np.roll(picture(), n, axis=1)), 40, 60) for n in range(3)
    ]
    records.tasks[14] = Task(14, frames, deleted=[1])
    records.jobs[35] = Job(35, 14, 0, 2)
    port = address.rpartition(":")[2]
    command = [
        *(sys.executable, "-m", "cvat_cli", "--server-host", "http://127.0.0.1"),
        *("--server-port", port, "task", "auto-annotate", "14"),
        *("--function-module", "segmentor.cvat.function", "-p", f"model=str:{model}"),
    ]
    environment = {**os.environ, "CVAT_ACCESS_TOKEN": TOKEN, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    shapes = records.tasks[14].shapes
    assert sorted({shape["frame"] for shape in shapes}) == [0, 2]
    assert {shape["source"] for shape in shapes} == {"auto"}
    painted = np.zeros((40, 60), bool)
    for shape in shapes:
        if shape["frame"] == 2:
            painted |= masks.decode_mask(shape["points"], image_width=60, image_height=40)
    expected = open_model(model).predict(frames[2].content).mask
    np.testing.assert_array_equal(painted, expected == 1)
