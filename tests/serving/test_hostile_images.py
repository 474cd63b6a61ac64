"""Bad images and uploads get a 4xx with a reason, and the next client gets its mask."""

import io
import json
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from refused import UPLOAD, V1, assert_refused, fuzz

from segmentor.image_io import encode_png

pytestmark = pytest.mark.usefixtures("innocent")


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it has very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_decompression_bombs_are_refused_from_the_header(predictor):
    before = predictor.rss_mib()
    for body in (bomb(20_000, 20_000), bomb(2**31 - 1, 2**31 - 1)):
        error = assert_refused(predictor.client.post(V1, content=body), 413)
        assert "pixels" in error
        assert_refused(predictor.client.post(UPLOAD, files={"file": body}), 413)
    assert predictor.rss_mib() - before < 150  # the pixels of the first alone are 400


def probes_wait_during(predictor, body: bytes, limit_s: float) -> tuple[int, bool]:
    """Post a body; return its status, and whether a liveness probe took longer meanwhile.

    A loop that is blocked keeps a probe waiting each time, and for most of the request; a busy
    machine now and then, and makes the request as much longer.
    """
    status, waited = 0, True
    for _ in range(5):
        started = time.perf_counter()
        status, worst = worst_probe_during(predictor, body)
        waited = worst > max(limit_s, (time.perf_counter() - started) / 4)
        if not waited:
            break
    return status, waited


def worst_probe_during(predictor, body: bytes) -> tuple[int, float]:
    """Post a body; return its status, and the longest a liveness probe took meanwhile."""
    times, done = [], threading.Event()

    def probe():
        with httpx.Client(base_url=predictor.url, timeout=100) as client:
            while not (done.is_set() and times):
                started = time.perf_counter()
                client.get("/v2/health/live")
                times.append(time.perf_counter() - started)

    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe)
        status = predictor.client.post(V1, content=body).status_code
        done.set()
        probing.result()
    return status, max(times)


def test_large_and_endless_headers_do_not_stop_the_probes(predictor):
    chunk = struct.pack(">I4sI", 0, b"tRNx", zlib.crc32(b"tRNx"))
    endless = bomb(8, 8)[:33] + chunk * 2_500_000
    assert probes_wait_during(predictor, endless, 1) == (400, False)
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    assert probes_wait_during(predictor, encode_png(noise), 0.5) == (200, False)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "multipart/form-data"}, b"--x\r\n"),
        ({"content-type": "multipart/form-data; boundary=x"}, b""),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\nfoo\r\n\r\nbar\r\n--x--"),
        ({"content-type": "multipart/form-data; boundary=" + "x" * 5000}, b"--x--"),
        ({"content-type": "multipart/form-data; boundary=x; charset=nope"}, b"--x--\r\n"),
        ({"content-type": "image/png"}, b"\x89PNG"),
        ({}, b""),
    ],
)
def test_a_malformed_upload_is_refused_with_status_100(predictor, headers, body):
    reply = predictor.client.post(UPLOAD, content=body, headers=headers)
    assert_refused(reply)
    assert reply.json()["status"] == "100"


def test_an_upload_field_that_is_no_file_is_refused(predictor):
    reply = predictor.client.post(UPLOAD, data={"file": "text"})
    assert_refused(reply)
    boundary = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert "file" in assert_refused(
        predictor.client.post(UPLOAD, content=boundary, headers=headers)
    )


def test_a_body_beyond_the_limit_is_413_announced_or_not(predictor):
    large = b"0" * (65 << 20)
    assert_refused(predictor.client.post(V1, content=large), 413)

    def chunks():
        for _ in range(65):
            yield b"0" * (1 << 20)

    assert_refused(predictor.client.post(V1, content=chunks()), 413)


@fuzz
@given(data=st.data())
def test_damaged_images_are_refused_or_predicted(predictor, scene_png, scene_jpeg, data):
    body = bytearray(data.draw(st.sampled_from([scene_png, scene_jpeg])))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    reply = predictor.client.post(V1, content=bytes(body))
    assert reply.status_code in (200, 400), reply.text


@fuzz
@given(st.binary(max_size=300))
def test_random_bytes_as_multipart_are_refused(predictor, body):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    content = b"--x\r\n" + body + b"\r\n--x--\r\n"
    assert predictor.client.post(UPLOAD, content=content, headers=headers).status_code == 400


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_lzw", "tiff_adobe_deflate"])
def test_damaged_tiffs_leave_no_raw_lines_in_the_log(predictor, compression):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300), np.uint8))
    buffer = io.BytesIO()
    picture.convert("1" if "group" in compression else "L").save(
        buffer, "TIFF", compression=compression
    )
    body = bytearray(buffer.getvalue())
    for position in range(100, 2000, 3):
        body[position] ^= 0x5A
    assert predictor.client.post(V1, content=bytes(body)).status_code in (200, 400)
    for line in predictor.log.read_text().splitlines():
        json.loads(line)


def test_a_damaged_jpeg_is_refused(predictor, damaged_jpeg):
    error = assert_refused(predictor.client.post(V1, content=damaged_jpeg))
    assert "cannot be decoded" in error
    assert_refused(predictor.client.post(f"{V1}?output=overlay", content=damaged_jpeg))
