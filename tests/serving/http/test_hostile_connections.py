"""Wrong paths, no HTTP, idle connections and overload: nobody else notices."""

import gzip
import socket
import time

import httpx
import numpy as np
import pytest
from refused import UPLOAD, V1, V2, assert_refused, tensor
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
        with socket.create_connection(("127.0.0.1", predictor.http_port), timeout=60) as connection:
            connection.sendall(garbage)
            assert b"400" in connection.recv(1000)[:20]


def test_the_offer_of_http2_that_java_clients_make_is_ignored(predictor, scene_png):
    head = f"POST {V1} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
    head += f"Content-Length: {len(scene_png)}\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n\r\n"
    with socket.create_connection(("127.0.0.1", predictor.http_port), timeout=60) as connection:
        connection.sendall(head.encode() + scene_png)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [V1, V2, UPLOAD])
def test_a_compressed_body_is_told_so(predictor, path):
    headers = {"content-encoding": "gzip", "content-type": "multipart/form-data; boundary=x"}
    body = gzip.compress(b"x")
    assert "gzip" in assert_refused(predictor.client.post(path, content=body, headers=headers), 415)


def test_no_redirect_names_another_address_and_probes_may_use_head(predictor):
    assert_refused(predictor.client.post("/predict/", files={"file": b"x"}), 404)
    for path in ("/", "/v2/health/live", "/v2/health/ready", "/v1/models/scene"):
        reply = predictor.client.head(path)
        assert (reply.status_code, reply.content) == (200, b"")


def test_the_server_names_itself_and_what_it_can(predictor):
    told = predictor.client.get("/v2").json()
    assert (told["name"], told["extensions"]) == ("segmentor", ["binary_tensor_data"])


def test_a_v2_reply_without_an_id_has_the_one_of_the_request(predictor):
    for given in ("client-7", "x" * 10_000):
        reply = predictor.client.post(
            V2, json={"inputs": [tensor()]}, headers={"x-request-id": given}
        )
        assert reply.json()["id"] == reply.headers["x-request-id"]
        assert len(reply.headers["x-request-id"]) <= 128
    reply = predictor.client.post(V2, json={"inputs": [tensor(shape=[0] * 300_000)]})
    assert len(assert_refused(reply)) < 200


def test_hundreds_of_idle_connections_keep_nobody_out(predictor, scene_png):
    idle = [socket.create_connection(("127.0.0.1", predictor.http_port)) for _ in range(300)]
    try:
        reply = httpx.post(f"{predictor.url}{V1}", content=scene_png, timeout=60)
        assert reply.status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_overload_and_slow_work_are_shed_with_503(road_model, tmp_path):
    flags = ("--max_inflight=1", "--max_queue=1", "--time_limit=0.1", "--max_body_mib=32")
    large = encode_png_of(1900, 2100)
    with running_predictor(road_model, tmp_path, *flags) as running:
        reply = running.client.post(V1, content=large)
        assert_refused(reply, 503)
        assert reply.headers["retry-after"] == "1"
        assert "0.1 s" in reply.json()["error"]


def encode_png_of(height: int, width: int) -> bytes:
    return encode_png(np.zeros((height, width, 3), np.uint8))


def test_replies_on_a_kept_connection_wait_for_no_acknowledgement(predictor):
    times = []
    for _ in range(40):
        started = time.perf_counter()
        predictor.client.get("/v2/health/live")
        times.append(time.perf_counter() - started)
    # With Nagle's algorithm each but the first takes 40 ms, on an idle machine too; on a busy one
    # some take that anyway.
    assert sorted(times)[2] < 0.03
