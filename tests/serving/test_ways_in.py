"""One image through every way in gives one mask: that of the shared inference path."""

import base64
import io
import json

import numpy as np
import pytest
from builders import STREET, draw_scene
from PIL import Image
from pycocotools import mask as coco

from segmentor.image_io import decode_index, encode_png
from segmentor.inference import predict_mask
from segmentor.onnx_model import OnnxModel


@pytest.fixture(scope="module")
def expected(street_model, scene_png):
    model = OnnxModel(street_model)
    return predict_mask(model.forward, model.contract, scene_png)


def v2_binary(pixels: bytes, shape: list[int], datatype: str, **extra) -> tuple[bytes, dict]:
    tensor = {
        "name": "image",
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": len(pixels)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}, **extra})
    return head.encode() + pixels, {"inference-header-content-length": str(len(head))}


def read_v2_binary(reply) -> tuple[dict, bytes]:
    assert reply.status_code == 200, reply.text
    length = int(reply.headers["inference-header-content-length"])
    return json.loads(reply.content[:length]), reply.content[length:]


def test_the_model_tells_the_classes_of_a_scene_apart(expected):
    truth = draw_scene(7, (90, 130))[1]
    assert (expected == truth).mean() > 0.9


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "text/plain"])
def test_v1_with_an_image_body_replies_with_the_mask_as_png(
    predictor, scene_png, expected, content_type
):
    reply = predictor.client.post(
        "/v1/models/scene:predict", content=scene_png, headers={"content-type": content_type}
    )
    assert reply.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(decode_index(reply.content), expected)


@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_same_mask(predictor, scene, expected, name):
    buffer = io.BytesIO()
    Image.fromarray(scene).save(buffer, name, lossless=True)
    reply = predictor.client.post("/v1/models/scene:predict", content=buffer.getvalue())
    np.testing.assert_array_equal(decode_index(reply.content), expected)


def test_jpeg_gives_the_mask_that_the_library_gives(predictor, street_model, scene_jpeg):
    model = OnnxModel(street_model)
    reply = predictor.client.post("/v1/models/scene:predict", content=scene_jpeg)
    mask = predict_mask(model.forward, model.contract, scene_jpeg)
    np.testing.assert_array_equal(decode_index(reply.content), mask)


def test_every_reply_names_the_model(predictor, scene_png, street_model):
    digest = OnnxModel(street_model).digest
    for reply in (
        predictor.client.post("/v1/models/scene:predict", content=scene_png),
        predictor.client.post("/predict", files={"file": scene_png}),
        predictor.client.post("/predict", content=b"nothing"),
        predictor.client.get("/nowhere"),
    ):
        assert reply.headers["x-segmentor-model"] == "scene"
        assert reply.headers["x-segmentor-digest"] == digest
        assert digest.removeprefix("sha256:").startswith(reply.headers["x-segmentor-version"])
        assert reply.headers["x-request-id"]


def test_a_clients_request_id_is_kept_and_a_hostile_one_is_not(predictor):
    kept = predictor.client.get("/nowhere", headers={"x-request-id": "abc-1"})
    assert kept.headers["x-request-id"] == kept.json()["request_id"] == "abc-1"
    other = predictor.client.get("/nowhere", headers={"x-request-id": 'a"b{}'})
    assert other.headers["x-request-id"] != 'a"b{}'


def test_upload_replies_with_classes_and_run_lengths(predictor, scene_png, expected):
    body = predictor.client.post("/predict", files={"file": ("a.png", scene_png)}).json()
    assert body["status"] == "200"
    assert body["size"] == [90, 130]
    assert [entry["name"] for entry in body["classes"]] == list(STREET.names)
    assert sum(entry["coverage"] for entry in body["classes"]) == pytest.approx(1, abs=1e-5)
    for entry in body["classes"]:
        np.testing.assert_array_equal(coco.decode(entry["rle"]), expected == entry["index"])


def test_lines_of_accept_are_one_list(predictor, scene_png):
    headers = [("accept", "text/html"), ("accept", "application/json")]
    reply = predictor.client.post("/v1/models/scene:predict", content=scene_png, headers=headers)
    assert reply.headers["content-type"] == "application/json"


def test_upload_replies_with_png_when_accept_asks(predictor, scene_png, expected):
    reply = predictor.client.post(
        "/predict", files={"file": scene_png}, headers={"accept": "image/png"}
    )
    np.testing.assert_array_equal(decode_index(reply.content), expected)


@pytest.mark.parametrize("route", ["/v1/models/scene:predict", "/predict"])
@pytest.mark.parametrize("output", ["mask", "overlay", "json", "probability"])
def test_each_output_can_be_asked_for(predictor, scene_png, expected, route, output):
    body = {"files": {"file": scene_png}} if route == "/predict" else {"content": scene_png}
    reply = predictor.client.post(route, params={"output": output}, **body)
    assert reply.status_code == 200, reply.text
    if output == "mask":
        np.testing.assert_array_equal(decode_index(reply.content), expected)
    elif output == "overlay":
        assert Image.open(io.BytesIO(reply.content)).size == (130, 90)
    elif output == "json":
        assert reply.json()["classes"][1]["pixels"] == int((expected == 1).sum())
    else:
        probability = np.load(io.BytesIO(reply.content))
        assert probability.dtype == np.float32
        np.testing.assert_array_equal(probability.argmax(0), expected)


def test_v1_json_takes_base64_and_lists(predictor, scene, scene_png, expected):
    encoded = base64.b64encode(scene_png).decode()
    instances = [{"image": {"b64": encoded}}, {"b64": encoded}, scene.tolist()]
    for content_type in ("application/json", "application/json; charset=utf-8"):
        reply = predictor.client.post(
            "/v1/models/scene:predict",
            content=json.dumps({"instances": instances}),
            headers={"content-type": content_type},
        )
        assert reply.status_code == 200, reply.text
        for prediction in reply.json()["predictions"]:
            decoded = coco.decode(prediction["classes"][1]["rle"])
            np.testing.assert_array_equal(decoded, expected == 1)


def test_v1_json_replies_with_the_mask_when_asked(predictor, scene_png, expected):
    reply = predictor.client.post(
        "/v1/models/scene:predict?output=mask",
        json={"instances": [{"b64": base64.b64encode(scene_png).decode()}]},
    )
    encoded = reply.json()["predictions"][0]["mask"]["b64"]
    np.testing.assert_array_equal(decode_index(base64.b64decode(encoded)), expected)


def test_v2_json_gives_the_same_mask(predictor, scene, expected):
    tensor = {"name": "image", "shape": [1, *scene.shape], "datatype": "UINT8"}
    body = {"id": "42", "inputs": [{**tensor, "data": scene.ravel().tolist()}]}
    reply = predictor.client.post("/v2/models/scene/infer", json=body).json()
    assert reply["id"] == "42"
    (output,) = reply["outputs"]
    assert (output["name"], output["datatype"]) == ("mask", "UINT8")
    mask = np.array(output["data"]).reshape(output["shape"])
    np.testing.assert_array_equal(mask[0], expected)


def test_v2_binary_pixels_give_the_same_mask(predictor, scene, expected):
    body, headers = v2_binary(scene.tobytes() * 2, [2, *scene.shape], "UINT8")
    reply = predictor.client.post("/v2/models/scene/infer", content=body, headers=headers)
    head, data = read_v2_binary(reply)
    masks = np.frombuffer(data, np.uint8).reshape(head["outputs"][0]["shape"])
    for mask in masks:
        np.testing.assert_array_equal(mask, expected)
    assert head["parameters"]["digest"] == reply.headers["x-segmentor-digest"]


def test_v2_encoded_images_give_the_same_mask(predictor, scene_png, expected):
    element = len(scene_png).to_bytes(4, "little") + scene_png
    body, headers = v2_binary(element, [1], "BYTES")
    _, data = read_v2_binary(
        predictor.client.post("/v2/models/scene/infer", content=body, headers=headers)
    )
    np.testing.assert_array_equal(np.frombuffer(data, np.uint8).reshape(90, 130), expected)


def test_v2_floats_of_zero_to_one_give_the_same_mask_and_probabilities(predictor, scene, expected):
    floats = (scene.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
    outputs = [{"name": "probability"}, {"name": "mask"}]
    body, headers = v2_binary(floats.tobytes(), [1, 3, 90, 130], "FP32", outputs=outputs)
    head, data = read_v2_binary(
        predictor.client.post("/v2/models/scene/infer", content=body, headers=headers)
    )
    assert [output["name"] for output in head["outputs"]] == ["probability", "mask"]
    probability = np.frombuffer(data, np.float32, 3 * 90 * 130).reshape(3, 90, 130)
    np.testing.assert_array_equal(probability.argmax(0), expected)
    np.testing.assert_array_equal(np.frombuffer(data[-90 * 130 :], np.uint8), expected.ravel())


def test_a_named_version_is_served_and_another_is_not_found(predictor, scene_png):
    version = predictor.client.get("/v2/models/scene").json()["versions"][0]
    body, headers = v2_binary(len(scene_png).to_bytes(4, "little") + scene_png, [1], "BYTES")
    path = "/v2/models/scene/versions/{}/infer"
    reply = predictor.client.post(path.format(version), content=body, headers=headers)
    assert reply.status_code == 200
    reply = predictor.client.post(path.format("nine"), content=body, headers=headers)
    assert reply.status_code == 404


def test_a_batch_of_images_of_different_sizes_is_refused_in_v2(predictor, scene_png):
    small = encode_png(np.zeros((20, 30, 3), np.uint8))
    raw = b"".join(len(item).to_bytes(4, "little") + item for item in (scene_png, small))
    body, headers = v2_binary(raw, [2], "BYTES")
    reply = predictor.client.post("/v2/models/scene/infer", content=body, headers=headers)
    assert reply.status_code == 400
    assert "different sizes" in reply.json()["error"]
