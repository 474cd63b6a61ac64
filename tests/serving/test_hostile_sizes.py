"""Small bodies that would take gigabytes are 413 before anything is decoded or parsed."""

import base64
import json

import numpy as np
import pytest
from refused import LENGTH, V1, V2, assert_refused

from segmentor.image_io import encode_png
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


def test_a_photograph_in_base64_counts_as_one_value(predictor):
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    reply = predictor.client.post(V1, content=instances(encode_png(noise), 1), headers=JSON)
    assert reply.status_code == 200
