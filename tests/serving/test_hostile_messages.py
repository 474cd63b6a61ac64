"""Small gRPC messages that would take gigabytes, slow ones, and calls that end early."""

import json
import re
import threading
import time

import grpc
import numpy as np
import pytest
from raw_grpc import INFER, LIVE, call, field, request, varint
from running_predictor import wait_until

from segmentor.image_io import encode_png
from serving.grpc_reading import PATIENCE_S, READERS

GROWTH_MIB = 300
MANY = 4_000_000

pytestmark = pytest.mark.usefixtures("innocent")


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (field(5, b"") * MANY, "fields"),
        (field(6, b"") * MANY, "fields"),
        (field(7, b"") * MANY, "fields"),
        (field(4, b"") * MANY, "fields"),
        (field(5, field(4, b"") * MANY), "fields"),
        (field(5, field(5, field(8, b"") * MANY)), "fields"),
        (b"\x78\x01" * MANY, "fields"),
        (field(5, field(3, b"\1" * 2 * MANY)), "values"),
        (field(5, field(5, field(4, b"\1" * 2 * MANY))), "values"),
        (field(5, field(5, field(3, b"\1" * 2 * MANY))), "values"),
        (field(5, field(5, field(6, b"\0\0\0\0" * 2 * MANY))), "values"),
    ],
    ids=[
        "inputs",
        "outputs",
        "raw contents",
        "parameters",
        "parameters of an input",
        "BYTES contents",
        "unknown fields",
        "shape",
        "UINT8 contents",
        "INT64 contents",
        "FP32 contents",
    ],
)
def test_messages_that_grow_when_they_are_parsed_are_refused(predictor, message, says):
    before = predictor.rss_mib()
    status, details = call(predictor.grpc_port, message)
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert says in details
    assert predictor.rss_mib() - before < GROWTH_MIB


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


def test_messages_of_the_other_methods_are_small(predictor):
    assert call(predictor.grpc_port, b"", LIVE)[0] is grpc.StatusCode.OK
    assert call(predictor.grpc_port, b"\xff", LIVE)[0] is grpc.StatusCode.INVALID_ARGUMENT
    status, details = call(predictor.grpc_port, field(9, bytes(1 << 20)), LIVE)
    assert (status, "at most 65,536" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)


def test_a_call_without_a_message_and_one_above_the_limit_are_refused(predictor):
    channel = grpc.insecure_channel(f"127.0.0.1:{predictor.grpc_port}")
    with channel, pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(INFER)(iter(()), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status, _ = call(predictor.grpc_port, field(7, bytes(65 << 20)))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_calls_that_send_nothing_give_way_to_those_that_do(predictor, scene_png):
    silent = threading.Event()

    def say_nothing():
        silent.wait(30)
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{predictor.grpc_port}") as channel:
        stream = channel.stream_unary(INFER)
        calls = [stream.future(say_nothing(), timeout=30) for _ in range(2 * READERS)]
        time.sleep(0.2)
        started = time.perf_counter()
        status, details = call(predictor.grpc_port, request(scene_png))
        assert status is grpc.StatusCode.OK, details
        assert time.perf_counter() - started < 3 * PATIENCE_S + 12  # less than they would say
        refused = [call.code() for call in calls[:READERS]]
        silent.set()
    assert refused == [grpc.StatusCode.DEADLINE_EXCEEDED] * READERS


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
