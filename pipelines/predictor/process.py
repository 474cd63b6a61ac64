"""The predictor as a process of this machine, for as long as it is needed."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError

from pipelines.processes import free_port, host_environment, start_process, stop_process
from segmentor.errors import PredictorError

# A machine with other work imports slowly; a predictor that has ended is noticed at once.
START_SECONDS = 180.0
STOP_SECONDS = 20.0


@contextlib.contextmanager
def running_predictor(
    name: str, location: str, environment: Mapping[str, str], log: Path
) -> Iterator[str]:
    """Serve a model on a free port of loopback; stop the server on the way out.

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
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "serving", "--model_name", name, "--model_dir", location]
    command += ["--http_port", str(port), "--enable_grpc", "false"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = start_process(command, host_environment(environment), output)
    try:
        _wait_until_ready(process, url, name, log)
        yield url
    finally:
        stop_process(process, STOP_SECONDS)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, name: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    # urllib.request would ask the environment's proxy for a loopback address.
    pool = urllib3.PoolManager(timeout=2, retries=False)
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise PredictorError(
                f"predictor of {name}",
                f"it ended with code {process.returncode} ({lines[-1] if lines else 'no output'})",
                remedy=f"its log is {log}",
            )
        with contextlib.suppress(HTTPError):
            if pool.request("GET", f"{url}/v2/models/{name}/ready").status == 200:
                return
        time.sleep(0.1)
    raise PredictorError(
        f"predictor of {name}", f"not ready in {START_SECONDS:.0f} s", remedy=f"its log is {log}"
    )
