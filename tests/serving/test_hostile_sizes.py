"""Small bodies that would take gigabytes are 413 before anything is decoded or parsed."""

import base64
import json

import numpy as np
import pytest
from refused import LENGTH, V1, V2, assert_refused, tensor

from segmentor.image_io import decode_index, encode_png
from serving.json_body import MAX_VALUES

pytestmark = pytest.mark.usefixtures("innocent")

JSON = {"content-type": "application/json"}
GROWTH_MIB = 400


@pytest.fixture(scope="module")
def wide_png() -> bytes:
    """An image of 16 megapixels in 20 kB; sixteen of them are more than a request may have."""
    return encode_png(np.zeros((4000, 4000), np.uint8))


def instances(content: bytes, count: int) -> bytes:
    image = {"image": {"b64": base64.b64encode(content).decode()}}
    return json.dumps({"instances": [image] * count}).encode()


def test_the_images_of_a_request_count_together(predictor, wide_png):
    before = predictor.rss_mib()
    body = instances(wide_png, 16)
    assert "16 images of 256,000,000 pixels" in assert_refused(
        predictor.client.post(V1, content=body, headers=JSON), 413
    )
    raw = (len(wide_png).to_bytes(4, "little") + wide_png) * 16
    entry = {"name": "image", "shape": [16], "datatype": "BYTES"}
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": len(raw)}}]})
    reply = predictor.client.post(V2, content=head.encode() + raw, headers={LENGTH: str(len(head))})
    assert_refused(reply, 413)
    assert predictor.rss_mib() - before < GROWTH_MIB


@pytest.mark.parametrize("output", ["overlay", "probability"])
def test_the_overlays_and_probabilities_of_a_request_count_together(predictor, wide_png, output):
    body = instances(wide_png, 5)
    reply = predictor.client.post(f"{V1}?output={output}", content=body, headers=JSON)
    assert "ask for the mask" in assert_refused(reply, 413)


@pytest.mark.parametrize("item", [b"[1,2,3]", b"[]", b"{}", b'{"a":1}', b"1"])
def test_long_lists_in_json_are_refused_before_they_are_parsed(predictor, item):
    before = predictor.rss_mib()
    many = b",".join([item] * (MAX_VALUES + 1))
    for path, body in (
        (V1, b'{"instances":[[' + many + b"]]}"),
        (
            V2,
            b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1],"data":[' + many + b"]}]}",
        ),
    ):
        reply = predictor.client.post(path, content=body, headers=JSON)
        assert "values in lists" in assert_refused(reply, 413)
    assert predictor.rss_mib() - before < GROWTH_MIB


def test_a_long_text_among_numbers_is_refused_without_making_all_as_long(predictor):
    before = predictor.rss_mib()
    row = ["x" * 5_000_000, *[""] * 200]
    reply = predictor.client.post(V1, content=json.dumps({"instances": [row]}), headers=JSON)
    assert "list of numbers" in assert_refused(reply)
    assert_refused(predictor.client.post(V2, json={"inputs": [tensor(data=row)]}))
    assert predictor.rss_mib() - before < GROWTH_MIB


def test_bytes_of_many_empty_elements_are_refused_at_the_second(predictor):
    before, raw = predictor.rss_mib(), bytes(40 << 20)
    entry = {"name": "image", "shape": [1], "datatype": "BYTES"}
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": len(raw)}}]})
    reply = predictor.client.post(V2, content=head.encode() + raw, headers={LENGTH: str(len(head))})
    assert "more than 1 image," in assert_refused(reply)
    assert predictor.rss_mib() - before < GROWTH_MIB


def test_an_image_too_wide_for_the_network_is_refused(predictor):
    before = predictor.rss_mib()
    wide = encode_png(np.zeros((1, 1_000_000), np.uint8))
    assert "pixels wide, at most 262,144" in assert_refused(
        predictor.client.post(V1, content=wide), 413
    )
    assert predictor.client.post(V1, content=encode_png(wide_strip())).status_code == 200
    assert predictor.rss_mib() - before < GROWTH_MIB


def wide_strip() -> np.ndarray:
    return np.zeros((2, 30_000), np.uint8)


def test_an_image_of_one_row_runs_in_tiles_under_the_native_policy(native_predictor):
    before = native_predictor.rss_mib()
    body = encode_png(np.zeros((1, 300_000), np.uint8))
    reply = native_predictor.client.post(V1, content=body)
    assert decode_index(reply.content).shape == (1, 300_000)
    assert native_predictor.rss_mib() - before < GROWTH_MIB


def test_outputs_as_lists_are_bounded(predictor, wide_png):
    raw = len(wide_png).to_bytes(4, "little") + wide_png
    entry = {"name": "image", "shape": [1], "datatype": "BYTES"}
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": len(raw)}}]})
    reply = predictor.client.post(V2, content=head.encode() + raw, headers={LENGTH: str(len(head))})
    assert "ask for binary data" in assert_refused(reply, 413)
    body = instances(encode_png(np.zeros((2000, 3000), np.uint8)), 1)
    reply = predictor.client.post(f"{V1}?output=probability", content=body, headers=JSON)
    assert "ask for the mask" in assert_refused(reply, 413)


def test_images_of_two_sizes_in_one_tensor_are_refused_before_they_are_predicted(predictor):
    def predicted() -> str:
        text = predictor.client.get("/metrics").text
        return next(line for line in text.splitlines() if 'seconds_count{stage="decode"' in line)

    predictor.client.post(V1, content=encode_png(np.zeros((4, 4), np.uint8)))
    before = predicted()
    pictures = [encode_png(np.zeros((4, width), np.uint8)) for width in (4, 5)]
    data = [base64.b64encode(picture).decode() for picture in pictures]
    reply = predictor.client.post(
        V2, json={"inputs": [tensor(datatype="BYTES", shape=[2], data=data)]}
    )
    assert "different sizes" in assert_refused(reply)
    assert predicted() == before


def test_a_photograph_in_base64_counts_as_one_value(predictor):
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    reply = predictor.client.post(V1, content=instances(encode_png(noise), 1), headers=JSON)
    assert reply.status_code == 200
