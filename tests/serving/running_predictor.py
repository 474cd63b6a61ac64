"""A real predictor process on loopback, for tests that are its clients."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RunningPredictor:
    """A predictor that is ready, and a client with its address."""

    process: "subprocess.Popen[bytes]"
    http_port: int
    grpc_port: int
    log: Path
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_predictor(
    arguments: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "serving", *arguments],
            cwd=REPOSITORY,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )


@contextmanager
def running_predictor(
    model_dir: Path | str,
    folder: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningPredictor]:
    """Starts `python -m serving` on free ports, waits until it is ready, and stops it."""
    http_port, grpc_port = free_port(), free_port()
    log = folder / "predictor.log"
    arguments = ["--model_name=scene", f"--model_dir={model_dir}"]
    arguments += [f"--http_port={http_port}", f"--grpc_port={grpc_port}", *flags]
    process = start_predictor(arguments, log, environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=60) as client:
            running = RunningPredictor(process, http_port, grpc_port, log, client)
            wait_until_ready(running)
            yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)


def wait_until_ready(running: RunningPredictor, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if running.process.poll() is not None:
            raise RuntimeError(f"the predictor ended: {running.log.read_text()}")
        try:
            if running.client.get("/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError(running.log.read_text())
