"""The embedded store is a real S3 server on loopback that leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines.local.embedded_store import GRPC_OFFSET, embedded_store
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from tests.waiting import wait_for

URI = ObjectUri("datasets", "exports/one.zip")


@pytest.fixture(autouse=True)
def _no_credentials_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


def _is_listening(endpoint: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", urlsplit(endpoint).port)) == 0


def _upload(environment: dict[str, str], path: Path) -> ObjectStore:
    store = ObjectStore.from_environment(environment)
    store.ensure_bucket(URI.bucket)
    store.upload_file(path, URI)
    return store


def test_two_stores_run_side_by_side_and_do_not_share_data_or_credentials(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with embedded_store(tmp_path / "a") as first, embedded_store(tmp_path / "b") as second:
        _upload(first, tmp_path / "file")

        assert ObjectStore.from_environment(first).read(URI) == b"content"
        assert not ObjectStore.from_environment(second).exists(URI)
        with pytest.raises(StoreError, match="check AWS_ACCESS_KEY_ID"):
            ObjectStore.from_environment({**second, "S3_ENDPOINT": first["S3_ENDPOINT"]}).read(URI)

    assert not _is_listening(first["S3_ENDPOINT"])
    assert not _is_listening(second["S3_ENDPOINT"])


def test_what_was_stored_is_there_again_in_the_next_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with embedded_store(tmp_path / "store") as environment:
        _upload(environment, tmp_path / "file")

    with embedded_store(tmp_path / "store") as environment:
        assert ObjectStore.from_environment(environment).read(URI) == b"content"


def test_a_folder_in_use_is_refused_and_one_that_is_being_left_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.local.embedded_store.STOP_SECONDS", 1)
    command = [sys.executable, "-m", "pipelines.cli", "store", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().startswith("export S3_ENDPOINT=")
        with (
            pytest.raises(StoreError, match=f"{tmp_path}: in use by another store"),
            embedded_store(tmp_path),
        ):
            pass
        monkeypatch.setattr("pipelines.local.embedded_store.STOP_SECONDS", 60)
        other.send_signal(signal.SIGTERM)
        with embedded_store(tmp_path) as environment:
            assert not ObjectStore.from_environment(environment).exists(URI)


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with embedded_store(tmp_path) as environment:
        assert not ObjectStore.from_environment(environment).exists(URI)


def test_a_port_in_use_is_refused_by_name(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with (
            pytest.raises(StoreError, match=f"127.0.0.1:{port}: a port in use"),
            embedded_store(tmp_path, port),
        ):
            pass


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_store_prints_exports_and_stops_on_a_signal(
    tmp_path: Path, stop: signal.Signals
) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "store", "--folder", str(tmp_path / "store")]
    # Sockets lie in it: below tmp_path their names might be too long.
    scratch = Path(tempfile.mkdtemp(prefix="scratch-"))
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert process.stdout is not None
    exports = dict(
        process.stdout.readline().removeprefix("export ").rstrip("\n").split("=", 1)
        for _ in range(3)
    )
    environment = {name: value.strip("'") for name, value in exports.items()}
    (tmp_path / "file").write_bytes(b"content")
    _upload(environment, tmp_path / "file")

    process.send_signal(stop)
    _, errors = process.communicate(timeout=100)

    assert process.returncode in (0, 143), errors
    assert "Traceback" not in errors
    assert not _is_listening(environment["S3_ENDPOINT"])
    scratch.rmdir()  # which it would refuse if something were left
    port = urlsplit(environment["S3_ENDPOINT"]).port
    assert list(Path("/tmp").glob(f"seaweedfs-*-{port + GRPC_OFFSET}.sock")) == []


def test_the_server_ends_with_a_process_that_is_killed_outright(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "store", "--folder", str(tmp_path / "store")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    endpoint = process.stdout.readline().partition("=")[2].strip().strip("'")
    assert _is_listening(endpoint)

    process.kill()
    process.communicate(timeout=100)

    wait_for(lambda: not _is_listening(endpoint))
