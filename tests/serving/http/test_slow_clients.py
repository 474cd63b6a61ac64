"""Clients that send or read slowly, or hang up, take nobody else's place."""

import contextlib
import socket
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from refused import V1, assert_refused
from running_predictor import RunningPredictor, running_predictor, wait_until

from segmentor.image_io import encode_png

MIB = 1 << 20

pytestmark = pytest.mark.usefixtures("innocent")


@contextlib.contextmanager
def unfinished(running: RunningPredictor, count: int, sent: int) -> Iterator[list[socket.socket]]:
    """Connections that have sent so many bytes of a body that is one longer, and wait."""
    head = f"POST {V1} HTTP/1.1\r\nHost: x\r\nContent-Length: {sent + 1}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(count):
            address = ("127.0.0.1", running.http_port)
            connection = stack.enter_context(socket.create_connection(address, timeout=60))
            connection.sendall(head + bytes(sent))
            connections.append(connection)
        yield connections


def test_bodies_that_are_on_their_way_hold_no_places(predictor, scene_png):
    with unfinished(predictor, 60, 1000):
        assert predictor.client.post(V1, content=scene_png).status_code == 200


def test_bodies_in_memory_are_bounded_and_small_ones_find_room(street_model, tmp_path, scene_png):
    with running_predictor(street_model, tmp_path, "--max_body_mib=8") as running:
        # 4 x 8 MiB in all, three quarters of them for large bodies.
        with unfinished(running, 4, 7 * MIB) as connections:
            assert running.client.post(V1, content=scene_png).status_code == 200
            for connection in connections:
                with contextlib.suppress(BrokenPipeError):
                    connection.sendall(b"\0")
            replies = sorted(connection.recv(20)[9:12] for connection in connections)
        assert replies == [b"400", b"400", b"400", b"503"]  # read, and they were no images
        text = running.client.get("/metrics").text
        assert 'segmentor_refused_total{reason="bytes of requests"} 1.0' in text
        assert running.client.post(V1, content=bytes(7 * MIB)).status_code == 400


def test_clients_that_hang_up_leave_the_queue(native_predictor, scene_png):
    running = native_predictor
    image = encode_png(np.zeros((1900, 1900, 3), np.uint8))
    head = f"POST {V1} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(image)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            address = ("127.0.0.1", running.http_port)
            stack.enter_context(socket.create_connection(address)).sendall(head + image)
        wait_until(lambda: running.metric("segmentor_queued") > 10, running)
        before = inferred(running)
    wait_until(lambda: running.metric("segmentor_queued") == 0, running)
    # What had begun, and not what was queued.
    assert inferred(running) - before < 8
    assert running.client.post(V1, content=scene_png).status_code == 200
    assert 'code="499"' in running.client.get("/metrics").text


def inferred(running: RunningPredictor) -> float:
    return running.metric('segmentor_stage_seconds_count{stage="infer"}')


def test_replies_that_nobody_reads_are_bounded_and_given_up(street_model, tmp_path, scene_png):
    image = encode_png(np.zeros((2000, 3000, 3), np.uint8))
    path = f"{V1}?output=probability".encode()  # 72 MB
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(image)
    with (
        running_predictor(
            street_model, tmp_path, "--max_inflight=1", "--time_limit=250"
        ) as running,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(6):
            address = ("127.0.0.1", running.http_port)
            connection = stack.enter_context(socket.create_connection(address, timeout=60))
            connection.sendall(head + image)
        wait_until(
            lambda: "bytes of replies" in running.client.get("/metrics").text, running, seconds=120
        )
        assert running.rss_mib() < 1200
        assert running.client.post(V1, content=scene_png).status_code == 200
        for name in ("probability", "mask"):
            reply = running.client.post(f"{V1}?output={name}", content=scene_png)
            assert reply.status_code == 200
        stack.close()
        reply = running.client.post(f"{V1}?output=probability", content=image)
        assert len(reply.content) > 3 * 4 * 6_000_000


def test_ipv6_clients_are_served(predictor, scene_png):
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    reply = httpx.post(f"http://[::1]:{predictor.http_port}{V1}", content=scene_png)
    assert reply.status_code == 200
    assert_refused(httpx.post(f"http://[::1]:{predictor.http_port}{V1}", content=b"x"))
