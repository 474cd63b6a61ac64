"""The gateway as CVAT's server uses it: what CVAT makes of its replies is the predictor's mask."""

import base64
import json
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from cvat_sdk import masks
from datumaro.util import mask_tools
from free_ports import free_port

import segmentor
from segmentor.image_io import encode_png
from serving.cvat_gateway import addresses_in

# What CVAT sends with each request.
HEADERS = {
    "x-nuclio-project-name": "cvat",
    "x-nuclio-function-namespace": "nuclio",
    "x-nuclio-invoke-via": "domain-name",
}
NAME = {"x-nuclio-function-name": "scene", "x-nuclio-path": "/"}


@pytest.fixture(scope="module")
def gateway(predictor, repository):
    """A gateway in a process of its own, with a model that answers and one that does not."""
    port = free_port()
    given = [f"--predictor=scene={predictor.url}", "--predictor=gone=http://127.0.0.1:9"]
    command = [sys.executable, "-m", "serving.cvat_gateway", *given, "--host", "127.0.0.1"]
    process = subprocess.Popen([*command, "--port", str(port)], cwd=repository)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=120)
    for _ in range(600):
        try:
            client.get("/api/functions/nothing")
            break
        except httpx.ConnectError:
            time.sleep(0.1)
    yield client
    client.close()
    process.terminate()
    process.wait(30)


def _invoke(gateway, content, **more):
    body = {"image": base64.b64encode(content).decode(), **more}
    return gateway.post("/api/function_invocations", json=body, headers=NAME)


def _as_cvat_keeps_it(annotation):
    """CVAT's LambdaJob._call_detector: the bitmap becomes run lengths."""
    bitmap, box = annotation["mask"][:-4], annotation["mask"][-4:]
    return mask_tools.mask_to_rle(np.array(bitmap))["counts"].tolist() + box


def test_models_that_answer_are_listed_as_detectors(gateway):
    listed = gateway.get("/api/functions").json()
    assert list(listed) == ["scene"]
    assert gateway.get("/api/functions/scene").json() == listed["scene"]
    # What CVAT's LambdaFunction reads.
    annotations = listed["scene"]["metadata"]["annotations"]
    assert listed["scene"]["metadata"]["name"] == "scene"
    assert annotations["type"] == "detector"
    assert [label["name"] for label in json.loads(annotations["spec"])] == ["sky", "road", "grass"]
    assert {label["type"] for label in json.loads(annotations["spec"])} == {"mask"}
    assert listed["scene"]["status"]["state"] == "ready"


def test_what_cvat_keeps_is_the_predictors_mask(gateway, predictor, scene):
    annotations = _invoke(gateway, encode_png(scene)).json()
    expected = segmentor.open_model(predictor.url).predict(scene)
    height, width = expected.mask.shape
    kept = np.full((height, width), 255, np.uint8)
    for annotation in annotations:
        assert annotation["type"] == "mask"
        bitmap = masks.decode_mask(
            _as_cvat_keeps_it(annotation), image_width=width, image_height=height
        )
        kept[bitmap] = expected.label_map.names.index(annotation["label"])
        assert 0 < float(annotation["confidence"]) <= 1
    # Specks are not sent: people must edit what is.
    sent = kept != 255
    np.testing.assert_array_equal(kept[sent], expected.mask[sent])
    assert sent.mean() > 0.95


def test_an_outline_comes_along_for_users_who_want_polygons(gateway, scene):
    for annotation in _invoke(gateway, encode_png(scene)).json():
        assert len(annotation["points"]) >= 6
        assert len(annotation["points"]) % 2 == 0


def test_a_threshold_leaves_out_what_is_less_sure(gateway, scene):
    every = _invoke(gateway, encode_png(scene)).json()
    scores = sorted(float(annotation["confidence"]) for annotation in every)
    middle = scores[len(scores) // 2]
    some = _invoke(gateway, encode_png(scene), threshold=middle).json()
    assert 0 < len(some) < len(every)
    assert all(float(annotation["confidence"]) >= round(middle, 4) for annotation in some)


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        ({"image": "no base64!"}, NAME, 400, "not base64"),
        ({"image": base64.b64encode(b"no image").decode()}, NAME, 400, "HTTP 400"),
        ({"image": "", "threshold": 2}, NAME, 422, "less than or equal to 1"),
        ({}, NAME, 422, "Field required"),
        ({"image": ""}, {}, 422, "x-nuclio-function-name"),
        (
            {"image": ""},
            {"x-nuclio-function-name": "none"},
            404,
            "no model 'none', but scene, gone",
        ),
        ({"image": ""}, {"x-nuclio-function-name": "gone"}, 503, "http://127.0.0.1:9"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(gateway, body, headers, status, message):
    reply = gateway.post("/api/function_invocations", json=body, headers=headers)
    assert (reply.status_code, message in reply.text) == (status, True), reply.text


def test_inference_services_that_are_ready_are_offered():
    def service(name, ready, **status):
        conditions = [
            {"type": "IngressReady", "status": "True"},
            {"type": "Ready", "status": ready},
        ]
        return {
            "metadata": {"name": name, "namespace": "segmentor"},
            "status": {"conditions": conditions, **status},
        }

    listed = [
        service("road", "True", address={"url": "http://road-predictor.segmentor.svc.example"}),
        service("cells", "True"),
        service("waiting", "False"),
        {"metadata": {"name": "new", "namespace": "segmentor"}},
    ]
    assert addresses_in(listed) == {
        "road": "http://road-predictor.segmentor.svc.example",
        "cells": "http://cells-predictor.segmentor.svc",
    }
