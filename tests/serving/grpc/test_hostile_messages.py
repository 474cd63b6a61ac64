"""gRPC messages that are wrong, too large or compressed, and calls that end early."""

import json
import re

import grpc
import numpy as np
import pytest
from raw_grpc import INFER, call, field, request, varint
from running_predictor import wait_until

from segmentor.image_io import encode_png
from serving.json_body import MAX_VALUES

GROWTH_MIB = 300

pytestmark = pytest.mark.usefixtures("innocent")


def test_a_message_that_gzip_has_made_small_is_refused(predictor):
    before = predictor.rss_mib()
    message = field(7, bytes(200 << 20))
    status, _ = call(predictor.grpc_port, message, compression=grpc.Compression.Gzip)
    assert status is grpc.StatusCode.UNIMPLEMENTED
    for line in predictor.log.read_text().splitlines():
        json.loads(line)  # gRPC says nothing beside it
    assert predictor.rss_mib() - before < GROWTH_MIB


@pytest.mark.parametrize(
    "message",
    [
        b"\xff" * 50,
        b"\x2a\xff\xff\xff\xff\x0f",
        b"\x2b" * 300,  # groups
        field(5, b"\x0a"),
        field(1, b"\xff\xfe"),  # not UTF-8
        b"\x09\0\0",
        field(5, field(5, field(6, b"\0\0\0"))),
    ],
)
def test_what_is_no_message_is_invalid(predictor, message):
    status, details = call(predictor.grpc_port, message)
    assert status is grpc.StatusCode.INVALID_ARGUMENT, details
    assert len(details) < 300


def test_every_kind_of_field_is_read(predictor, scene_png):
    parameter = field(1, b"k") + field(2, field(3, b"v"))
    extra = (
        field(3, b"id-1") + field(4, parameter) + field(6, field(1, b"mask") + field(2, parameter))
    )
    extra += field(15, b"of a later version") + b"\x79" + bytes(8) + b"\x7d" + bytes(4)
    status, reply = call(predictor.grpc_port, request(scene_png, extra=extra))
    assert status is grpc.StatusCode.OK, reply
    assert b"id-1" in reply
    assert call(predictor.grpc_port, request(scene_png, "other"))[0] is grpc.StatusCode.NOT_FOUND


def test_a_message_above_the_limit_is_refused(predictor):
    status, _ = call(predictor.grpc_port, field(7, bytes(65 << 20)))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_long_lists_in_contents_are_refused(predictor):
    image = field(1, b"image") + field(2, b"UINT8") + field(3, b"\1\1\1\3")
    numbers = field(5, field(4, b"\1" * (MAX_VALUES + 1)))
    status, details = call(predictor.grpc_port, field(1, b"scene") + field(5, image + numbers))
    assert (status, "in lists" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True), details


def test_a_call_whose_client_gave_up_is_counted_as_cancelled(native_predictor):
    running, large = native_predictor, encode_png(np.zeros((2500, 3500, 3), np.uint8))

    def counted(code: str) -> float:
        text = running.client.get("/metrics").text
        found = re.findall(rf'code="{code}",route="grpc ModelInfer"}} (\S+)', text)
        return sum(map(float, found))

    cancelled, done = counted("CANCELLED"), counted("OK")
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        begun = channel.unary_unary(INFER).future(request(large), timeout=100)
        wait_until(lambda: running.pending() > 0, running)
        begun.cancel()
        wait_until(lambda: counted("CANCELLED") > cancelled, running)
    assert counted("OK") == done


def test_varints_of_the_tests_are_those_of_the_specification():
    assert varint(300) == b"\xac\x02"
