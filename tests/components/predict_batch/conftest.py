"""A model, a bucket with images, and a place for predictions."""

import uuid
from pathlib import Path

import pytest
from builders import STREET, write_checkpoint
from red_model import write_red_model

from segmentor.object_uri import ObjectUri
from tests.components.predict_batch.bulk_builders import upload_images

IMAGES = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_red_model(tmp_path_factory.mktemp("model") / "red")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network of three classes, as export writes it."""
    from components.export.onnx_file import load_for_export, write_model

    folder = tmp_path_factory.mktemp("network")
    write_checkpoint(folder / "checkpoint", STREET, steps=2)
    write_model(folder / "model.onnx", load_for_export(folder / "checkpoint"))
    return folder


@pytest.fixture
def source(store) -> ObjectUri:
    return ObjectUri(f"images-{uuid.uuid4().hex[:12]}", "2026")


@pytest.fixture
def images(store, source) -> dict[str, bytes]:
    return upload_images(store, source, IMAGES)


@pytest.fixture
def output(store) -> ObjectUri:
    return ObjectUri(f"predictions-{uuid.uuid4().hex[:12]}", "first")
