"""Served models, predictors and pictures for the tests of serving; each is made once a session."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import ROAD, STREET, draw_scene, write_model
from numpy.typing import NDArray
from running_predictor import RunningPredictor, running_predictor

from segmentor.image_io import encode_jpeg, encode_png


@pytest.fixture(scope="session")
def street_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a multiclass model of the `resize` policy, 64 x 96."""
    return write_model(tmp_path_factory.mktemp("street") / "model.onnx", STREET).parent


@pytest.fixture(scope="session")
def road_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a binary model of the `native` policy."""
    path = tmp_path_factory.mktemp("road") / "model.onnx"
    return write_model(path, ROAD, size_policy="native").parent


@pytest.fixture(scope="session")
def predictor(
    street_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPredictor]:
    """A predictor of the multiclass model, shared by all tests that leave it as it is."""
    with running_predictor(street_model, tmp_path_factory.mktemp("predictor")) as running:
        yield running


@pytest.fixture(scope="session")
def native_predictor(
    road_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPredictor]:
    """A predictor of the binary model with one worker, for images that take it long."""
    folder = tmp_path_factory.mktemp("native")
    with running_predictor(road_model, folder, "--max_inflight=1", "--time_limit=250") as running:
        yield running


@pytest.fixture(scope="session")
def scene() -> NDArray[np.uint8]:
    """A drawn scene, RGB uint8 (90, 130, 3): neither the network's size nor its shape."""
    return draw_scene(7, (90, 130))[0]


@pytest.fixture(scope="session")
def scene_png(scene: NDArray[np.uint8]) -> bytes:
    return encode_png(scene)


@pytest.fixture(scope="session")
def scene_jpeg(scene: NDArray[np.uint8]) -> bytes:
    return encode_jpeg(scene, quality=95)


@pytest.fixture
def innocent(predictor: RunningPredictor, scene_png: bytes) -> Iterator[None]:
    """After the test, on the same connection: an innocent request is answered."""
    yield
    assert predictor.client.post("/v1/models/scene:predict", content=scene_png).status_code == 200
    assert predictor.process.poll() is None
