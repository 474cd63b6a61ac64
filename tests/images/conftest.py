import os
from collections.abc import Iterator

import docker
import pytest

from components.container_images import DATA, PREDICTOR, TRAINER

IMAGES = {"data": DATA, "trainer": TRAINER, "predictor": PREDICTOR}


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Docker Engine with the three images built; `.ci/docker-tier.sh` provides both."""
    client = None
    try:
        client = docker.from_env()
        client.ping()
        missing = [name for name in IMAGES.values() if not client.images.list(name)]
        problem = f"no image {', '.join(missing)}" if missing else ""
    except docker.errors.DockerException as error:
        problem = str(error)
    if problem:
        message = f"container tier cannot run ({problem}): run .ci/docker-tier.sh"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield client
    client.close()
