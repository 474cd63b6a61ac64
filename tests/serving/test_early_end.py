"""A predictor that is told to end before it serves."""

import signal
import time
from pathlib import Path

import pytest
from free_ports import free_port
from running_predictor import start_predictor


@pytest.mark.parametrize("delay_s", [0, 0.05, 0.15, 0.3])
def test_sigterm_ends_it_while_it_loads_its_model(
    delay_s: float, street_model: Path, tmp_path: Path
) -> None:
    """The first process of a container has no default action: without a handler it would go on.

    NumPy is imported in that time: it makes an ImportError of an exception that the handler raises.
    """
    arguments = ["--model_name=scene", f"--model_dir={street_model}", f"--http_port={free_port()}"]
    process = start_predictor([*arguments, "--enable_grpc=false"], tmp_path / "log")
    status = Path(f"/proc/{process.pid}/status")
    end = time.monotonic() + 60
    while not int(status.read_text().split("SigCgt:")[1].split()[0], 16) & 1 << signal.SIGTERM - 1:
        assert time.monotonic() < end, "no handler of SIGTERM"
        time.sleep(0.01)
    time.sleep(delay_s)
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert "Traceback" not in (tmp_path / "log").read_text()
