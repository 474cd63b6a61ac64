"""The store behind a network that fails: what is tried again, for how long, and what is not."""

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from unittest.mock import Mock

import pytest
from free_ports import free_port

from segmentor import retrying
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.store_connection import StoreConnection
from tests.emulators.bad_network import Answer, bad_network

SECONDS = 30.0
# For the trouble `silent` alone: a busy machine's answer may take longer.
SILENCE = 2.0
# Where all of it is waited for.
SHORT = 2.5
TROUBLES = ("429", "500", "502", "503", "reset", "silent", "lost")


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """A laptop in a hurry."""
    parameters = getattr(request.node, "callspec", None)
    if parameters and parameters.params.get("trouble") == "silent":
        monkeypatch.setattr(retrying, "LAPTOP_SILENCE_SECONDS", SILENCE)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(retrying, "LAPTOP_SECONDS", SECONDS)
    monkeypatch.setattr(retrying, "FIRST_WAIT_SECONDS", 0.05)


@pytest.fixture
def network(store_environment):
    with bad_network(store_environment["S3_ENDPOINT"]) as server:
        yield server


@pytest.fixture
def client(network, store):
    """The store by way of the bad network; `store` itself is reached directly."""
    return client_of(network.address)


@pytest.fixture
def bucket(store):
    name = f"b-{uuid.uuid4().hex[:12]}"
    store.ensure_bucket(name)
    return ObjectUri(name, "")


def client_of(endpoint):
    return ObjectStore.from_environment({**os.environ, "S3_ENDPOINT": endpoint})


def put(store, uri, content):
    store.client.put_object(uri.bucket, uri.key, io.BytesIO(content), len(content))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_read_outlasts_each_trouble(trouble, client, network, store, bucket):
    uri = bucket.child("a")
    put(store, uri, b"content")
    network.troubles = [trouble] * 2
    assert client.read(uri) == b"content"
    assert len(network.requests) == 3


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_verb_outlasts_each_trouble(trouble, client, network, store, bucket, tmp_path):
    content = bytes(range(256)) * 21_000  # 5.4 MB: two parts
    (tmp_path / "up").write_bytes(content)
    uri = bucket.child("folder/large")
    for verb in ("HEAD", "PUT", "POST", "GET"):
        network.only, network.troubles = f"{verb} ", [trouble]
        client.ensure_bucket(bucket.bucket)
        client.upload_file(tmp_path / "up", uri)
        assert client.exists(uri)
        assert list(client.list_keys(bucket)) == [uri]
        client.download(uri, tmp_path / "down")
        assert (tmp_path / "down").read_bytes() == content
        assert network.troubles == [], verb


def test_a_bucket_whose_creation_was_not_confirmed_is_there(client, network, store):
    bucket = ObjectUri(f"b-{uuid.uuid4().hex[:12]}", "")
    network.only, network.troubles = "PUT ", ["lost"]
    client.ensure_bucket(bucket.bucket)
    assert network.troubles == []
    put(store, bucket.child("a"), b"content")
    assert client.read(bucket.child("a")) == b"content"


@pytest.mark.parametrize("trouble", ["503", "reset", "lost", "error in 200"])
def test_the_end_of_an_upload_in_parts_outlasts_trouble(
    trouble, client, network, store, bucket, tmp_path
):
    """CompleteMultipartUpload is a POST, and S3 may refuse it with 503 SlowDown, or after 200."""
    content = bytes(range(256)) * 21_000
    (tmp_path / "up").write_bytes(content)
    uri = bucket.child("large")
    network.only, network.troubles = "POST .*uploadId=", [trouble] * 2
    client.upload_file(tmp_path / "up", uri)
    assert network.troubles == []
    assert store.read(uri) == content


def test_other_bytes_than_the_store_has_are_never_taken(
    client, network, store, bucket, monkeypatch
):
    uri = bucket.child("a")
    put(store, uri, b"content")
    assert client.read(uri) == b"content"
    network.troubles = ["wrong"] * 3
    assert client.read(uri) == b"content"
    network.troubles = ["wrong"] * 100
    monkeypatch.setattr(retrying, "LAPTOP_SECONDS", SHORT)
    with pytest.raises(StoreError, match="no answer from .*WrongContentError"):
        client.read(uri)


@pytest.mark.parametrize("first", ["", "wrong"])
def test_where_no_etag_is_an_md5_content_has_to_arrive_twice(client, network, store, bucket, first):
    uri = bucket.child("a")
    put(store, uri, b"content")
    other = Answer(200, b"content", {"ETag": '"00000000000000000000000000000000"'})
    broken = Answer(200, b"CONTENT", {"ETag": '"00000000000000000000000000000000"'})
    network.troubles = [*([broken] if first else []), other, other]
    assert client.read(uri) == b"content"
    kms = {**other.headers, "x-amz-server-side-encryption": "aws:kms"}
    network.troubles = [Answer(200, b"content", kms)]
    assert client.read(uri) == b"content"
    assert network.troubles == []


@pytest.mark.parametrize("name", ["read", "download"])
def test_a_body_that_breaks_off_is_fetched_again(name, client, network, store, bucket, tmp_path):
    content = bytes(range(256)) * 4_000
    uri = bucket.child("a")
    put(store, uri, content)
    network.only, network.troubles = "GET", ["cut", "cut"]
    if name == "read":
        assert client.read(uri) == content
    else:
        client.download(uri, tmp_path / "down")
        assert (tmp_path / "down").read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == ["down"]
    assert network.troubles == []


def test_a_store_that_starts_later_is_waited_for_with_a_line_each_time(store, caplog):
    """The port is refused until the server listens, as while a pod starts."""
    with bad_network(os.environ["S3_ENDPOINT"]) as server:
        port = server.server_port
    results = []

    def ask():
        results.append(client_of(f"http://127.0.0.1:{port}").exists(ObjectUri("none", "a")))

    with caplog.at_level(logging.WARNING):
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(1.5)
        with bad_network(os.environ["S3_ENDPOINT"], port):
            asking.join(30)
    assert results == [False]
    waits = [record.getMessage() for record in caplog.records]
    assert waits
    for line in waits:
        assert line.startswith(
            f"waiting server=127.0.0.1:{port} failure=NewConnectionError wait_s="
        )


@pytest.mark.parametrize("trouble", ["503", "reset", "silent"])
def test_trouble_that_stays_ends_in_time_and_says_what_it_was(
    trouble, client, network, bucket, caplog, monkeypatch
):
    monkeypatch.setattr(retrying, "LAPTOP_SECONDS", SHORT)
    network.troubles = [trouble] * 100
    start = time.monotonic()
    with pytest.raises(StoreError) as caught:
        client.read(bucket.child("a"))
    assert SHORT - SILENCE - 0.2 < time.monotonic() - start < SHORT + SILENCE + 3
    text = str(caught.value)
    if trouble == "503":
        assert "HTTP 503 SlowDown" in text
        assert "try again later" in text
        assert "AWS_ACCESS_KEY_ID" not in text
    else:
        expected = {"reset": "ConnectionResetError", "silent": "ReadTimeoutError"}[trouble]
        assert f"no answer from {network.address} ({expected})" in text


def test_a_silent_store_is_an_error_within_half_a_minute_on_a_laptop(store, monkeypatch):
    """At a tenth of the times: one attempt ends in time, and no time is left for a second."""
    monkeypatch.undo()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for name in ("LAPTOP_SECONDS", "LAPTOP_SILENCE_SECONDS"):
        monkeypatch.setattr(retrying, name, getattr(retrying, name) / 10)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = ObjectStore(StoreConnection(address, region="r"))
        start = time.monotonic()
        with pytest.raises(StoreError, match=r"no answer from .* \(ReadTimeoutError\)"):
            client.read(ObjectUri("bucket", "a"))
        assert time.monotonic() - start < 20
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


@pytest.mark.parametrize("status", ["400", "401", "403", "404"])
def test_what_another_attempt_cannot_change_is_asked_once(status, client, network, bucket):
    network.troubles = [status] * 100
    with pytest.raises(StoreError):
        client.read(bucket.child("a"))
    assert len(network.requests) == 1


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://no-such-host.invalid:9", "NameResolutionError"),
        ("https://127.0.0.1:{port}", "SSLError"),  # a server without TLS
    ],
)
def test_an_unknown_host_and_tls_fail_at_once(endpoint, reason, network, store):
    start = time.monotonic()  # a resolver whose packet is lost waits for 5 s
    with pytest.raises(StoreError, match=reason):
        client_of(endpoint.format(port=network.server_port)).read(ObjectUri("bucket", "a"))
    assert time.monotonic() - start < SECONDS / 2


def test_a_pod_asks_again_for_a_host_that_its_dns_does_not_know_yet(store, monkeypatch, caplog):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(retrying, "POD_SECONDS", 2.0)
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=unknown))
    with pytest.raises(StoreError, match="NameResolutionError"):
        client_of("http://no-such-host.invalid:9").read(ObjectUri("bucket", "a"))
    assert "waiting server=no-such-host.invalid:9 failure=NameResolutionError" in caplog.text


def test_a_pod_is_patient_for_five_minutes_and_a_laptop_for_half_a_minute():
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert retrying.NetworkRetry.from_environment(pod).seconds == 300
    assert retrying.attempt_timeout(pod).read_timeout == 30
    assert not retrying.is_in_pod({})


def test_sigterm_ends_the_waiting(store_environment, tmp_path):
    """A step exits with 143 at once, although it would ask the store for minutes."""
    environment = {
        **os.environ,
        "S3_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }
    flags = ["--source=s3://bucket/task.zip", f"--dataset={tmp_path / 'd'}"]
    reports = [f"--label-report={tmp_path / 'r'}", f"--label-metrics={tmp_path / 'm'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "components.convert_labels", *flags, *reports],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("waiting server=" in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    assert process.wait(60) == 143
    assert time.monotonic() - start < 10
    process.stderr.close()
