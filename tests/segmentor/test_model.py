import numpy as np
import pytest
from builders import STREET, draw_scene, write_model
from PIL import Image
from red_model import write_red_model

from segmentor.errors import ContractError, DataError, ImageError
from segmentor.image_io import encode_png
from segmentor.inference import predict_mask
from segmentor.masks import overlay
from segmentor.model import open_model
from segmentor.onnx_model import OnnxModel


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A model of three classes."""
    path = tmp_path_factory.mktemp("street") / "model.onnx"
    write_model(path, STREET)
    return path


def test_every_way_to_give_an_image_gives_the_same_mask(street, tmp_path):
    pixels, _ = draw_scene(3, (70, 90))
    content = encode_png(pixels)
    (tmp_path / "a.png").write_bytes(content)
    model = open_model(street)
    loaded = OnnxModel(street)
    expected = predict_mask(loaded.forward, loaded.contract, content)
    for image in (content, tmp_path / "a.png", str(tmp_path / "a.png"), pixels,
                  Image.fromarray(pixels)):  # fmt: skip
        np.testing.assert_array_equal(model.predict(image).mask, expected)
    assert model.digest == loaded.digest
    assert model.label_map == STREET


def test_probability_confidence_and_overlay_belong_to_the_mask(street):
    pixels, _ = draw_scene(4, (70, 90))
    prediction = open_model(street).predict(pixels)
    assert prediction.probability.shape == (3, 70, 90)
    np.testing.assert_array_equal(prediction.probability.argmax(axis=0), prediction.mask)
    np.testing.assert_allclose(prediction.confidence, prediction.probability.max(axis=0))
    np.testing.assert_array_equal(prediction.overlay(), overlay(pixels, prediction.mask, STREET))


def test_confidence_of_a_binary_model_is_that_of_the_class_taken(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4, 0] = 204
    prediction = open_model(write_red_model(tmp_path / "m", threshold=0.5)).predict(pixels)
    np.testing.assert_allclose(prediction.confidence[:, :4], 0.8, atol=1e-6)
    np.testing.assert_allclose(prediction.confidence[:, 4:], 1.0, atol=1e-6)


def test_a_model_of_the_store_is_opened(store, tmp_path):
    from segmentor.object_uri import ObjectUri

    folder = write_red_model(tmp_path / "m")
    store.ensure_bucket("face")
    store.upload_file(folder / "model.onnx", ObjectUri("face", "road/v1/model.onnx"))
    assert open_model("s3://face/road/v1").digest == open_model(folder).digest


def test_what_is_no_model_and_no_image_is_said(tmp_path):
    with pytest.raises(ContractError, match="no such file"):
        open_model(tmp_path / "nothing.onnx")
    model = open_model(write_red_model(tmp_path / "m"))
    with pytest.raises(DataError, match=r"no image \(No such file"):
        model.predict(tmp_path / "none.png")
    with pytest.raises(ImageError):
        model.predict(b"no image")
    with pytest.raises(DataError, match=r"float64 \(4, 4, 3\), expected RGB uint8"):
        model.predict(np.zeros((4, 4, 3)))
