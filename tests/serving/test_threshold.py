"""A client's own threshold: the same mask by every way in, and never ignored without a word."""

import base64
import json
import struct

import grpc
import numpy as np
import pytest
from raw_grpc import call, field, request
from refused import LENGTH, V1, V2, assert_refused

from segmentor.image_io import decode_index

MOVED = 0.999


@pytest.fixture(scope="module")
def moved(native_predictor, scene_png):
    """The mask at `MOVED`, by ?threshold=; at the model's own threshold it is another."""
    own, mask = (
        decode_index(native_predictor.client.post(V1, params=query, content=scene_png).content)
        for query in ({}, {"threshold": MOVED})
    )
    assert 0 < (own != mask).mean() < 1
    return mask


def v1_body(picture: bytes, **extra) -> str:
    return json.dumps({"instances": [{"b64": base64.b64encode(picture).decode()}], **extra})


def v2_body(picture: bytes, **extra) -> tuple[bytes, dict[str, str]]:
    raw = len(picture).to_bytes(4, "little") + picture
    size = {"binary_data_size": len(raw)}
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": size}
    head = json.dumps({"inputs": [tensor], **extra}).encode()
    return head + raw, {LENGTH: str(len(head))}


def grpc_threshold(value: bytes) -> bytes:
    """An entry of the map `parameters`; `value` is the InferParameter."""
    return field(4, field(1, b"threshold") + field(2, value))


TEXT = field(3, b"0.999")
DOUBLE = b"\x21" + struct.pack("<d", MOVED)  # as Triton's clients send it


@pytest.mark.parametrize("value", [MOVED, str(MOVED)])
def test_v1_json_takes_the_threshold_among_its_parameters(
    native_predictor, scene_png, moved, value
):
    body = v1_body(scene_png, parameters={"threshold": value, "unknown": 1})
    reply = native_predictor.client.post(V1 + "?output=mask", content=body).json()
    mask = decode_index(base64.b64decode(reply["predictions"][0]["mask"]["b64"]))
    np.testing.assert_array_equal(mask, moved)


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {"threshold": MOVED, "unknown": 1}),
        ("", {"threshold": "0.999"}),
        ("?threshold=0.999", {}),
    ],
)
def test_v2_takes_the_threshold_in_parameters_and_in_the_query(
    native_predictor, scene_png, moved, query, parameters
):
    body, headers = v2_body(scene_png, parameters=parameters)
    reply = native_predictor.client.post(V2 + query, content=body, headers=headers)
    (output,) = reply.json()["outputs"]
    np.testing.assert_array_equal(np.reshape(output["data"], output["shape"])[0], moved)


@pytest.mark.parametrize("value", [TEXT, DOUBLE])
def test_grpc_takes_the_threshold_as_text_and_as_tritons_double(
    native_predictor, scene_png, moved, value
):
    message = request(scene_png, extra=grpc_threshold(value))
    status, reply = call(native_predictor.grpc_port, message)
    assert status is grpc.StatusCode.OK, reply
    assert moved.tobytes() in reply


@pytest.mark.parametrize("value", [0, 1, 1.5, -1, True, "high", [0.5], {}, "nan"])
def test_what_is_no_threshold_is_refused(native_predictor, scene_png, value):
    parameters = {"threshold": value}
    body, headers = v2_body(scene_png, parameters=parameters)
    for reply in (
        native_predictor.client.post(V1, content=v1_body(scene_png, parameters=parameters)),
        native_predictor.client.post(V2, content=body, headers=headers),
    ):
        error = assert_refused(reply)
        assert error.startswith("threshold: found")
        assert "in (0, 1)" in error


@pytest.mark.parametrize(
    "value", [b"", field(3, b"high"), field(3, b"1"), b"\x10\x01", b"\x08\x01"]
)
def test_what_is_no_threshold_is_refused_over_grpc(native_predictor, scene_png, value):
    """None, texts, a whole number, and true."""
    message = request(scene_png, extra=grpc_threshold(value))
    status, details = call(native_predictor.grpc_port, message)
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("threshold: found")


def test_the_threshold_of_the_query_wins(native_predictor, scene_png, moved):
    parameters = {"threshold": 0.001}
    body, headers = v2_body(scene_png, parameters=parameters)
    reply = native_predictor.client.post(f"{V2}?threshold={MOVED}", content=body, headers=headers)
    assert reply.json()["outputs"][0]["data"] == moved.ravel().tolist()
    reply = native_predictor.client.post(
        f"{V1}?threshold={MOVED}&output=mask", content=v1_body(scene_png, parameters=parameters)
    )
    mask = decode_index(base64.b64decode(reply.json()["predictions"][0]["mask"]["b64"]))
    np.testing.assert_array_equal(mask, moved)


def test_no_threshold_says_nothing(native_predictor, scene_png):
    for parameters in (None, {}, {"threshold": None}):
        body = v1_body(scene_png, parameters=parameters)
        assert native_predictor.client.post(V1, content=body).status_code == 200


def test_parameters_are_an_object(native_predictor, scene_png):
    reply = native_predictor.client.post(V1, content=v1_body(scene_png, parameters=[0.4]))
    assert "expected 'parameters' as an object" in assert_refused(reply)


def test_a_model_of_many_classes_refuses_a_threshold_by_every_way_in(predictor, scene_png):
    parameters = {"threshold": 0.4}
    asked, headers = v2_body(scene_png, parameters=parameters)
    plain, plain_headers = v2_body(scene_png)
    for reply in (
        predictor.client.post(V1, content=v1_body(scene_png, parameters=parameters)),
        predictor.client.post(V2, content=asked, headers=headers),
        predictor.client.post(V2 + "?threshold=0.4", content=plain, headers=plain_headers),
    ):
        assert "more than two classes" in assert_refused(reply)
    status, details = call(predictor.grpc_port, request(scene_png, extra=grpc_threshold(TEXT)))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "more than two classes" in details


def test_masks_by_a_parameter_are_not_counted_as_the_models(native_predictor, scene_png, moved):
    def counted() -> str:
        lines = native_predictor.client.get("/metrics").text.splitlines()
        return next(x for x in lines if x.startswith("segmentor_image_brightness_count"))

    before = counted()
    body, headers = v2_body(scene_png, parameters={"threshold": MOVED})
    assert native_predictor.client.post(V2, content=body, headers=headers).status_code == 200
    assert counted() == before
    body, headers = v2_body(scene_png)
    assert native_predictor.client.post(V2, content=body, headers=headers).status_code == 200
    assert counted() != before
