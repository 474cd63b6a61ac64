"""What every test may use: the real data folder, and quiet, bounded threads."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from hypothesis import HealthCheck, settings

from pipelines.store import embedded_store
from segmentor.object_store import ObjectStore

# Set before torch and onnxruntime start their pools: idle OpenMP threads spin and starve the rest.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
cv2.setNumThreads(0)
# A shell that starts the tests in the background ignores Ctrl-C, also for all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A shared machine stalls at times: how long one example takes is no property of the code. And the
# same examples each time: what a change broke is not to be a matter of chance. To look for others:
# pytest --hypothesis-profile=explore
_patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("segmentor", **_patient, derandomize=True, database=None)
settings.register_profile("explore", **_patient, derandomize=False, max_examples=500)
settings.load_profile("segmentor")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs and exports; it is never part of the repository."""
    folder = Path(os.environ.get("SEGMENTOR_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"no real data at {folder}: set SEGMENTOR_TEST_DATA to the folder that has it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def store_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server on loopback; the value holds S3_ENDPOINT and the credentials."""
    with embedded_store(tmp_path_factory.mktemp("store")) as environment:
        yield environment


@pytest.fixture
def store(store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A client of the S3 server, whose variables are also set in the environment."""
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    return ObjectStore.from_environment()


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs the demo once for all slow tests; returns its run folder and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    command = [sys.executable, "-m", "pipelines.cli", "demo", "--output", str(folder)]
    own = ("S3_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=REPOSITORY
    )
    assert result.returncode == 0, result.stderr
    return folder, result.stdout
