"""Bad V1 and V2 bodies get a 4xx with a reason, and the next client gets its mask."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refused import LENGTH, V1, V2, assert_refused, fuzz, tensor

pytestmark = pytest.mark.usefixtures("innocent")


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
    "invalid base64": b'{"instances": [{"b64": "!!"}]}',
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (base64.encodebytes(bytes(100)).decode(), "base64 -w0"),
        ("data:image/png;base64,AAAA", "'data:' prefix"),
        ("_-_-", "'+' and '/'"),
        ("A", "not base64"),
    ],
)
def test_base64_of_another_kind_is_told_what_to_do(predictor, text, says):
    v1 = predictor.client.post(V1, json={"instances": [{"b64": text}]})
    assert says in assert_refused(v1)
    element = tensor(datatype="BYTES", shape=[1], data=[text])
    assert says in assert_refused(predictor.client.post(V2, json={"inputs": [element]}))


def test_bytes_without_their_length_are_told_so(predictor, scene_jpeg):
    size = {"binary_data_size": len(scene_jpeg)}
    entry = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": size}
    head = json.dumps({"inputs": [entry]}).encode()
    headers = {LENGTH: str(len(head))}
    reply = predictor.client.post(V2, content=head + scene_jpeg, headers=headers)
    assert "begin with their length" in assert_refused(reply)


def test_a_multipart_form_for_predict_is_told_where_to_go(predictor, scene_png):
    reply = predictor.client.post(V1, files={"file": scene_png})
    assert "/predict" in assert_refused(reply)
