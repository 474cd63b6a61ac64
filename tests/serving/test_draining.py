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
from running_predictor import RunningPredictor, running_predictor

from segmentor.image_io import encode_png

GRACE_S = 1


@pytest.fixture(scope="module")
def large() -> bytes:
    """An image of 120 megapixels: in tiles it takes far longer than a grace period."""
    return encode_png(np.zeros((10_000, 12_000), np.uint8))


def wait_for_work(running: RunningPredictor, count: int) -> None:
    end = time.monotonic() + 20
    while f"segmentor_in_flight {count}.0" not in running.client.get("/metrics").text:
        assert time.monotonic() < end, running.log.read_text()
        time.sleep(0.02)


def test_work_beyond_the_grace_period_is_given_up_and_every_client_is_told(
    road_model, tmp_path, large
):
    with running_predictor(road_model, tmp_path, f"--grace_period={GRACE_S}") as running:
        with ThreadPoolExecutor(3) as pool:
            posts = [pool.submit(httpx.post, running.url + V1, content=large, timeout=60)]
            wait_for_work(running, 1)
            posts.append(pool.submit(httpx.post, running.url + V1, content=large, timeout=60))
            called = pool.submit(call, running.grpc_port, request(large))
            slow = socket.create_connection(("127.0.0.1", running.http_port), timeout=20)
            head = b"POST /predict HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            slow.sendall(head + b"Content-Length: 9\r\n\r\n")
            time.sleep(0.5)
            started = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(timeout=20) == 0
            assert time.monotonic() - started < GRACE_S + 3
            for post in posts:
                assert "stopping" in assert_refused(post.result(), 503)
            status, details = called.result()
            assert (status, "stopping" in details) == (grpc.StatusCode.UNAVAILABLE, True), details
            said = slow.recv(2000)
            slow.close()
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b'"status":"100"' in said
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert lines[-1]["event"] == "stopped before the work was done"
    assert not [line for line in lines if "traceback" in line]


def test_new_work_is_refused_at_once_on_both_doors(road_model, tmp_path, large):
    with running_predictor(road_model, tmp_path, "--grace_period=20") as running:
        first = threading.Thread(
            target=lambda: httpx.post(running.url + V1, content=large, timeout=60)
        )
        first.start()
        wait_for_work(running, 1)
        assert call(running.grpc_port, b"", LIVE)[0] is grpc.StatusCode.OK
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert running.process.poll() is None
        assert call(running.grpc_port, b"", LIVE)[0] is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(httpx.TransportError):
            httpx.get(running.url + "/v2/health/live", timeout=5)
        # A second signal ends it at once, and the client still gets an answer.
        started = time.monotonic()
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.process.wait(timeout=10) == 0
        assert time.monotonic() - started < 3
        first.join()
