"""Wrong paths, no HTTP, idle connections and overload: nobody else notices."""

import socket
import time

import httpx
import numpy as np
import pytest
from refused import V1, assert_refused
from running_predictor import running_predictor

from segmentor.image_io import encode_png

pytestmark = pytest.mark.usefixtures("innocent")


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
    return encode_png(np.zeros((height, width, 3), np.uint8))


def test_replies_on_a_kept_connection_wait_for_no_acknowledgement(predictor):
    times = []
    for _ in range(15):
        started = time.perf_counter()
        predictor.client.get("/v2/health/live")
        times.append(time.perf_counter() - started)
    # With Nagle's algorithm each but the first takes 40 ms, on an idle machine too.
    assert sorted(times)[7] < 0.03
