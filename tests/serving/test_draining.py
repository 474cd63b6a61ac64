"""SIGTERM: both doors close at once, work is finished or given up, and clients are told."""

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import numpy as np
import pytest
from raw_grpc import LIVE, call, request
from refused import V1, assert_refused
from running_predictor import running_predictor, wait_until

from segmentor.image_io import encode_png

GRACE_S = 1


@pytest.fixture(scope="module")
def large() -> bytes:
    """An image of 120 megapixels: in tiles it takes far longer than a grace period."""
    return encode_png(np.zeros((10_000, 12_000), np.uint8))


def test_work_beyond_the_grace_period_is_given_up_and_every_client_is_told(
    road_model, tmp_path, large
):
    with running_predictor(road_model, tmp_path, f"--grace_period={GRACE_S}") as running:
        address = ("127.0.0.1", running.http_port)
        with ThreadPoolExecutor(3) as pool, socket.create_connection(address, timeout=60) as slow:
            posts = [
                pool.submit(httpx.post, running.url + V1, content=large, timeout=100)
                for _ in range(2)
            ]
            called = pool.submit(call, running.grpc_port, request(large), timeout=100)
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
            head += b"Content-Type: multipart/form-data; boundary=x\r\n"
            slow.sendall(head + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
            assert slow.recv(2000).startswith(b"HTTP/1.1 100 ")  # its body is awaited
            wait_until(lambda: running.pending() == 3, running)
            started = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(timeout=60) == 0
            assert time.monotonic() - started < GRACE_S + 15  # the work would take minutes
            for post in posts:
                assert "stopping" in assert_refused(post.result(), 503)
            status, details = called.result()
            assert (status, "stopping" in details) == (grpc.StatusCode.UNAVAILABLE, True), details
            said = slow.recv(2000)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b'"status":"100"' in said
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert lines[-1]["event"] == "stopped before the work was done"
    assert not [line for line in lines if "traceback" in line]


def test_new_work_is_refused_at_once_on_both_doors(road_model, tmp_path, large):
    with running_predictor(road_model, tmp_path, "--grace_period=90") as running:
        first = threading.Thread(
            target=lambda: httpx.post(running.url + V1, content=large, timeout=100)
        )
        first.start()
        wait_until(lambda: running.metric("segmentor_in_flight") == 1, running)
        assert call(running.grpc_port, b"", LIVE)[0] is grpc.StatusCode.OK
        running.process.send_signal(signal.SIGTERM)
        wait_until(
            lambda: call(running.grpc_port, b"", LIVE)[0] is grpc.StatusCode.UNAVAILABLE, running
        )
        wait_until(lambda: not is_open(running.http_port), running)
        assert running.process.poll() is None
        # A second signal ends it at once, and the client still gets an answer.
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.process.wait(timeout=30) == 0
        first.join()


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
