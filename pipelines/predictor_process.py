"""The predictor as a process of this machine, for as long as it is needed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from pipelines.host_runner import host_environment
from pipelines.process_lifetime import end_with_parent
from segmentor.errors import PredictorError

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@contextlib.contextmanager
def running_predictor(
    name: str, location: str, environment: Mapping[str, str], log: Path
) -> Iterator[str]:
    """Serves a model on a free port of loopback; stops the server on the way out.

    Args:
        name: The model's name in URLs.
        location: A folder with model.onnx, or an s3:// URI.
        environment: Of the process; S3 credentials among it.
        log: Takes what the server writes.

    Yields:
        The address, such as http://127.0.0.1:12345, once the model is ready.

    Raises:
        PredictorError: it ended, or was not ready in time.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "serving", "--model_name", name, "--model_dir", location]
    command += ["--http_port", str(port), "--enable_grpc", "false"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=host_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches us alone; we stop it in order.
            process_group=0,
            preexec_fn=end_with_parent,
        )
    try:
        _wait_until_ready(process, url, name, log)
        yield url
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, name: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise PredictorError(
                f"predictor of {name}",
                f"it ended with code {process.returncode} ({lines[-1] if lines else 'no output'})",
                remedy=f"its log is {log}",
            )
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/v2/models/{name}/ready", timeout=2).is_success:
                return
        time.sleep(0.1)
    raise PredictorError(
        f"predictor of {name}", f"not ready in {START_SECONDS:.0f} s", remedy=f"its log is {log}"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
