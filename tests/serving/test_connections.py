"""Connections: offers of HTTP/2 in pieces, more of them than file descriptors, and quiet probes."""

import json
import resource
import socket
import subprocess
import sys
import time

import httpx
import pytest
from refused import V1, assert_refused
from running_predictor import REPOSITORY, free_port, running_predictor

from serving.http_protocol import connection_limits

DESCRIPTORS = 240


def offer_of_http2(body: bytes, name: str = "Upgrade") -> bytes:
    head = f"POST {V1} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
    head += f"Content-Length: {len(body)}\r\nHTTP2-Settings: AAEAAEAA\r\n{name}: h2c\r\n\r\n"
    return head.encode() + body


def send_in_pieces(port: int, pieces: list[bytes]) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02)
        return connection.recv(100)


@pytest.mark.parametrize(
    "at", [b"Upgrade: h", b"grade: h", b": h2c", b"h2c", b"\n\r\n", b"\r\n\r\n"]
)
def test_an_offer_of_http2_is_ignored_wherever_its_pieces_end(predictor, scene_png, at):
    request = offer_of_http2(scene_png)
    cut = request.rindex(at, 0, request.index(b"\r\n\r\n") + 4)
    reply = send_in_pieces(predictor.http_port, [request[:cut], request[cut:]])
    assert reply.startswith(b"HTTP/1.1 200 ")


def test_an_offer_of_http2_is_ignored_byte_by_byte_and_in_capitals(predictor, scene_png):
    request = offer_of_http2(scene_png, "UPGRADE")
    head = request.index(b"\r\n\r\n") + 4
    pieces = [request[i : i + 1] for i in range(head - 30, head)]
    reply = send_in_pieces(predictor.http_port, [request[: head - 30], *pieces, request[head:]])
    assert reply.startswith(b"HTTP/1.1 200 ")


def test_a_body_that_looks_like_the_offer_stays_as_it_is(predictor, scene_png):
    # Pieces end where a header might begin; trailing bytes do not matter to a PNG.
    body = scene_png + b"\nupgrade: x\nup"
    head, _, rest = offer_of_http2(body).partition(b"\r\n\r\n")
    pieces = [head + b"\r", b"\n\r\n" + rest]
    assert send_in_pieces(predictor.http_port, pieces).startswith(b"HTTP/1.1 200 ")


def test_more_connections_than_descriptors_keep_no_probe_out(street_model, tmp_path):
    port, idle = free_port(), []
    command = ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh", sys.executable, "-m"]
    command += ["serving", "--model_name=scene", f"--model_dir={street_model}"]
    command += [f"--http_port={port}", "--enable_grpc=false"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=file)
    live = f"http://127.0.0.1:{port}/v2/health/live"
    try:
        wait_until_answered(live)
        for _ in range(2 * DESCRIPTORS):
            idle.append(socket.create_connection(("127.0.0.1", port), timeout=60))
            time.sleep(0.002)  # more than may wait at once would be tried again after a second
        assert answers(live)
        assert idle[0].recv(1) == b""  # it idled longest, and had to go
        assert len(log.read_text().splitlines()) < 30
    finally:
        for connection in idle:
            connection.close()
        process.terminate()
        process.wait(timeout=40)


def wait_until_answered(url: str) -> None:
    end = time.monotonic() + 200
    while not answers(url):
        assert time.monotonic() < end
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=20).status_code == 200
    except httpx.TransportError:
        return False


def test_half_of_the_descriptors_is_for_connections(monkeypatch):
    taken = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: taken.append(limits))
    for limits, expected in (
        ((1024, 2048), (1024, 64)),
        ((240, 240), (120, 7)),
        ((1024, resource.RLIM_INFINITY), (4096, 256)),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        assert connection_limits() == expected
    assert taken == [(2048, 2048), (240, 240), (16384, resource.RLIM_INFINITY)]


def test_probes_that_succeed_are_not_in_the_log(road_model, tmp_path):
    probes = ("/", "/v1/models/scene", "/v2/health/live", "/v2/models/scene/ready", "/metrics")
    with running_predictor(road_model, tmp_path) as running:
        for path in probes:
            assert running.client.get(path).status_code == 200
        assert_refused(running.client.get("/v1/models/other"), 404)
    events = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert [event["status"] for event in events if event["event"] == "request"] == [404]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),  # what a TLS client says first
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
    ],
)
def test_what_is_refused_before_it_is_a_request_is_logged_and_counted_once(predictor, sent, code):
    counter = f'segmentor_requests_total{{code="{code}",route="unknown"}}'
    before = predictor.metric(counter)
    reply = b""
    with socket.create_connection(("127.0.0.1", predictor.http_port), timeout=60) as connection:
        connection.sendall(sent)
        while piece := connection.recv(4096):
            reply += piece
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    identifier = json.loads(body)["request_id"]
    assert status.split()[1] == str(code)
    assert headers["x-request-id"] == identifier
    assert int(headers["content-length"]) == len(body)
    innocent = predictor.client.get("/v2/health/live").headers
    for name in ("model", "version", "digest", "engine"):
        assert headers[f"x-segmentor-{name}"] == innocent[f"x-segmentor-{name}"]
    assert predictor.metric(counter) == before + 1
    log = predictor.log.read_text()
    (line,) = [json.loads(line) for line in log.splitlines() if identifier in line]
    assert (line["request_id"], line["status"], line["client"]) == (identifier, code, "127.0.0.1")
    told = [json.loads(line) for line in log.splitlines() if "Invalid HTTP" in line]
    assert all("request_id" in entry for entry in told)
