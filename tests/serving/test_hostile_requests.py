"""Whatever a client sends, it gets a 4xx with a reason, and the next client gets its mask."""

import base64
import json
import socket
import struct
import zlib

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_predictor import running_predictor

from segmentor.image_io import encode_png

V1, V2, UPLOAD = "/v1/models/scene:predict", "/v2/models/scene/infer", "/predict"
LENGTH = "inference-header-content-length"

fuzz = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def innocent(predictor, scene_png):
    """After each test, on the same connection: an innocent request is answered."""
    yield
    assert predictor.client.post(V1, content=scene_png).status_code == 200
    assert predictor.process.poll() is None


def assert_refused(reply: httpx.Response, *codes: int) -> str:
    assert reply.status_code in (codes or (400,)), reply.text
    body = reply.json()
    assert body["error"]
    assert body["request_id"] == reply.headers["x-request-id"]
    for leak in ("Traceback", "site-packages", 'File "'):
        assert leak not in reply.text
    assert len(reply.text) < 1000
    return str(body["error"])


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it has very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def tensor(**changes) -> dict:
    entry = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [0] * 12}
    return {**entry, **changes}


JSON_BODIES = {
    "empty": b"",
    "no object": b"[1]",
    "null": b"null",
    "empty object": b"{}",
    "not JSON": b'{"instances": [',
    "NaN": b'{"instances": [[[[NaN, 0, 0]]]]}',
    "deep": b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "invalid UTF-8": b'{"instances": ["\xff\xfe"]}',
    "no instances": b'{"instances": []}',
    "an instance that is a number": b'{"instances": [1]}',
    "base64 that is none": b'{"instances": [{"b64": "!!"}]}',
    "base64 of no image": json.dumps(
        {"instances": [{"b64": base64.b64encode(b"hello").decode()}]}
    ).encode(),
    "ragged pixels": b'{"instances": [[[[1, 2, 3]], [[1, 2]]]]}',
    "pixels above 255": b'{"instances": [[[[256, 0, 0]]]]}',
    "pixels that are text": b'{"instances": [[[["a", "b", "c"]]]]}',
    "huge integers": b'{"instances": [[[[' + b"9" * 400 + b", 0, 0]]]]}",
}


@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES.keys())
def test_bad_v1_json_is_refused(predictor, body):
    reply = predictor.client.post(V1, content=body, headers={"content-type": "application/json"})
    assert_refused(reply)


V2_BODIES = {
    "no inputs": {},
    "inputs that are no list": {"inputs": {}},
    "two inputs": {"inputs": [tensor(), tensor()]},
    "another name": {"inputs": [tensor(name="x")]},
    "no shape": {"inputs": [{"name": "image", "datatype": "UINT8", "data": []}]},
    "a shape of text": {"inputs": [tensor(shape=["a"])]},
    "a shape of booleans": {"inputs": [tensor(shape=[True, 2, 2, 3])]},
    "a negative shape": {"inputs": [tensor(shape=[-1, 2, 2, 3])]},
    "a shape of zero": {"inputs": [tensor(shape=[0, 2, 2, 3])]},
    "an empty shape": {"inputs": [tensor(shape=[])]},
    "a shape that overflows": {"inputs": [tensor(shape=[1, 2**40, 2**40, 3])]},
    "too few values": {"inputs": [tensor(data=[0] * 11)]},
    "fractions": {"inputs": [tensor(data=[0.5] * 12)]},
    "nulls": {"inputs": [tensor(data=[None] * 12)]},
    "another datatype": {"inputs": [tensor(datatype="INT64")]},
    "normalised floats": {
        "inputs": [tensor(datatype="FP32", shape=[1, 3, 2, 2], data=[-1.5] * 12)]
    },
    "BYTES that are no base64": {"inputs": [tensor(datatype="BYTES", shape=[1], data=["?"])]},
    "BYTES that are numbers": {"inputs": [tensor(datatype="BYTES", shape=[1], data=[1])]},
    "an unknown output": {"inputs": [tensor()], "outputs": [{"name": "x"}]},
    "outputs that are no list": {"inputs": [tensor()], "outputs": 3},
    "an id that is a number": {"id": 3, "inputs": [tensor()]},
    "parameters that are a list": {"inputs": [tensor()], "parameters": [1]},
    "a flag that is text": {"inputs": [tensor()], "parameters": {"binary_data_output": "yes"}},
    "binary data without a size": {
        "inputs": [{"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8"}]
    },
}


@pytest.mark.parametrize("body", V2_BODIES.values(), ids=V2_BODIES.keys())
def test_bad_v2_json_is_refused(predictor, body):
    assert_refused(predictor.client.post(V2, json=body), 400, 413)


@pytest.mark.parametrize("length", ["-1", "0", "x", "99999999", "1e2", "²", "1" * 5000, "5"])
def test_a_wrong_header_length_is_refused(predictor, length):
    body = json.dumps({"inputs": [tensor()]}).encode()
    reply = predictor.client.post(V2, content=body, headers={LENGTH: length.encode()})
    assert_refused(reply)


@pytest.mark.parametrize(
    ("size", "data"), [(-1, b""), (2**70, b""), (12, b"a" * 11), (12, b"a" * 13), ("12", b"a" * 12)]
)
def test_a_wrong_binary_size_is_refused(predictor, size, data):
    entry = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8"}
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": size}}]}).encode()
    reply = predictor.client.post(V2, content=head + data, headers={LENGTH: str(len(head))})
    assert_refused(reply)


@pytest.mark.parametrize("element", [b"\x05\0\0\0abc", b"\xff\xff\xff\xff", b"\x01", b""])
def test_a_bytes_tensor_with_wrong_lengths_is_refused(predictor, element):
    entry = {"name": "image", "shape": [1], "datatype": "BYTES"}
    parameters = {"binary_data_size": len(element)}
    head = json.dumps({"inputs": [{**entry, "parameters": parameters}]}).encode()
    reply = predictor.client.post(V2, content=head + element, headers={LENGTH: str(len(head))})
    assert_refused(reply)


def test_decompression_bombs_are_refused_from_the_header(predictor):
    before = predictor.rss_mib()
    for body in (bomb(20_000, 20_000), bomb(2**31 - 1, 2**31 - 1)):
        error = assert_refused(predictor.client.post(V1, content=body))
        assert "pixels" in error
        assert_refused(predictor.client.post(UPLOAD, files={"file": body}))
    assert predictor.rss_mib() - before < 50


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "multipart/form-data"}, b"--x\r\n"),
        ({"content-type": "multipart/form-data; boundary=x"}, b""),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\nfoo\r\n\r\nbar\r\n--x--"),
        ({"content-type": "multipart/form-data; boundary=" + "x" * 5000}, b"--x--"),
        ({"content-type": "multipart/form-data; boundary=x; charset=nope"}, b"--x--\r\n"),
        ({"content-type": "image/png"}, b"\x89PNG"),
        ({}, b""),
    ],
)
def test_a_malformed_upload_is_refused_with_status_100(predictor, headers, body):
    reply = predictor.client.post(UPLOAD, content=body, headers=headers)
    assert_refused(reply)
    assert reply.json()["status"] == "100"


def test_an_upload_field_that_is_no_file_is_refused(predictor):
    reply = predictor.client.post(UPLOAD, data={"file": "text"})
    assert_refused(reply)
    boundary = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert "file" in assert_refused(
        predictor.client.post(UPLOAD, content=boundary, headers=headers)
    )


def test_a_body_beyond_the_limit_is_413_announced_or_not(predictor):
    large = b"0" * (65 << 20)
    assert_refused(predictor.client.post(V1, content=large), 413)

    def chunks():
        for _ in range(65):
            yield b"0" * (1 << 20)

    assert_refused(predictor.client.post(V1, content=chunks()), 413)


def test_loading_and_unloading_are_refused_and_the_model_stays(predictor):
    for verb in ("load", "unload"):
        reply = predictor.client.post(f"/v2/repository/models/scene/{verb}")
        assert_refused(reply, 403)
    assert predictor.client.get("/v1/models/scene").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/models/nope", 404),
        ("POST", "/v1/models/nope:predict", 404),
        ("POST", "/v2/models/nope/infer", 404),
        ("GET", "/v2/models/nope", 404),
        ("GET", "/v2/models/nope/ready", 404),
        ("GET", "/v1/models/" + "n" * 3000, 404),
        ("GET", V1, 404),
        ("DELETE", "/predict", 405),
        ("POST", V1 + "?output=gif", 400),
        ("POST", V1 + "?threshold=2", 400),
        ("POST", V1 + "?threshold=nan", 400),
    ],
)
def test_wrong_paths_methods_and_parameters(predictor, method, path, code):
    assert_refused(predictor.client.request(method, path), code)


def test_a_threshold_does_not_apply_to_many_classes(predictor, scene_png):
    error = assert_refused(predictor.client.post(V1 + "?threshold=0.4", content=scene_png))
    assert "threshold" in error


@fuzz
@given(data=st.data())
def test_damaged_images_are_refused_or_predicted(predictor, scene_png, scene_jpeg, data):
    body = bytearray(data.draw(st.sampled_from([scene_png, scene_jpeg])))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    reply = predictor.client.post(V1, content=bytes(body))
    assert reply.status_code in (200, 400), reply.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@fuzz
@given(data=st.data())
def test_v2_requests_with_one_field_replaced_are_refused_or_inferred(predictor, data):
    entry = tensor()
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(json_values)
    body: dict = {"inputs": [entry], "outputs": [{"name": "mask"}], "parameters": {}, "id": "x"}
    if data.draw(st.booleans()):
        body[data.draw(st.sampled_from(sorted(body)))] = data.draw(json_values)
    try:
        text = json.dumps(body).encode()
    except UnicodeEncodeError:
        return
    reply = predictor.client.post(V2, content=text)
    assert reply.status_code in (200, 400, 413), reply.text


@fuzz
@given(st.binary(max_size=200), st.integers(0, 250))
def test_random_bytes_as_binary_v2_are_refused(predictor, body, length):
    reply = predictor.client.post(V2, content=body, headers={LENGTH: str(length)})
    assert reply.status_code == 400


@fuzz
@given(st.binary(max_size=300))
def test_random_bytes_as_multipart_are_refused(predictor, body):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    content = b"--x\r\n" + body + b"\r\n--x--\r\n"
    assert predictor.client.post(UPLOAD, content=content, headers=headers).status_code == 400


def test_what_is_no_http_harms_nobody(predictor):
    for garbage in (
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", predictor.http_port), timeout=5) as connection:
            connection.sendall(garbage)
            assert b"400" in connection.recv(1000)[:20]


def test_hundreds_of_idle_connections_keep_nobody_out(predictor, scene_png):
    idle = [socket.create_connection(("127.0.0.1", predictor.http_port)) for _ in range(300)]
    try:
        reply = httpx.post(f"{predictor.url}{V1}", content=scene_png, timeout=10)
        assert reply.status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_overload_and_slow_work_are_shed_with_503(road_model, tmp_path):
    flags = ("--max_inflight=1", "--max_queue=1", "--time_limit=0.2", "--max_body_mib=32")
    large = encode_png_of(2500, 3500)
    with running_predictor(road_model, tmp_path, *flags) as running:
        reply = running.client.post(V1, content=large)
        assert_refused(reply, 503)
        assert reply.headers["retry-after"] == "1"
        assert "0.2 s" in reply.json()["error"]


def encode_png_of(height: int, width: int) -> bytes:
    import numpy as np

    return encode_png(np.zeros((height, width, 3), np.uint8))
