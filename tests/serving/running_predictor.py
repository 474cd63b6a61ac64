"""A real predictor process on loopback, for tests that are its clients."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from free_ports import free_port

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

    def metric(self, name: str) -> float:
        """The value of a metric, which is named with its labels where it has some; 0 at first."""
        text = self.client.get("/metrics").text
        return sum(map(float, re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)))

    def pending(self) -> float:
        """How many predictions are computed, or wait for a worker."""
        return self.metric("segmentor_in_flight") + self.metric("segmentor_queued")


def start_predictor(
    arguments: list[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    program: tuple[str, ...] = ("-m", "serving"),
) -> "subprocess.Popen[bytes]":
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
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
    program: tuple[str, ...] = ("-m", "serving"),
) -> Iterator[RunningPredictor]:
    """Start `python -m serving` on free ports, wait until it is ready, and stop it."""
    http_port, grpc_port = free_port(), free_port()
    log = folder / "predictor.log"
    arguments = ["--model_name=scene", f"--model_dir={model_dir}"]
    arguments += [f"--http_port={http_port}", f"--grpc_port={grpc_port}", *flags]
    process = start_predictor(arguments, log, environment, program)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=60) as client:
            running = RunningPredictor(process, http_port, grpc_port, log, client)
            wait_until_ready(running)
            yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=100)


def wait_until_ready(running: RunningPredictor, seconds: float = 200) -> None:
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


def wait_until(holds: Callable[[], bool], running: RunningPredictor, seconds: float = 60) -> None:
    """Wait for what comes in a moment; a busy machine takes longer."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, running.log.read_text()
        time.sleep(0.02)
