import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from components.container_images import DATA, PREDICTOR, TRAINER

# The predictor built with OpenVINO, as overlays/fast wants it.
PREDICTOR_OPENVINO = "segmentor-predictor:openvino"
IMAGES = {
    "data": DATA,
    "trainer": TRAINER,
    "predictor": PREDICTOR,
    "predictor with OpenVINO": PREDICTOR_OPENVINO,
}


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Docker Engine with the images built; `.ci/docker-tier.sh` provides both."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    # Looked at first: docker-py leaks a socket, which is a warning, when nothing listens.
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).is_socket():
        _refuse(f"no engine at {host}")
    client = docker.from_env(timeout=300)
    missing = [name for name in IMAGES.values() if not client.images.list(name)]
    if missing:
        client.close()
        _refuse(f"no image {', '.join(missing)}")
    yield client
    client.close()


def _refuse(problem: str) -> None:
    message = f"container tier cannot run ({problem}): run .ci/docker-tier.sh"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
