"""`segmentor doctor` beside a real Docker Engine that has the images."""

import docker
import pytest

from pipelines.doctor.examination import examine
from pipelines.doctor.finding import State


@pytest.mark.docker
def test_a_running_engine_and_its_images_work(engine: docker.DockerClient) -> None:
    found = {finding.subject: finding for finding in examine(["Docker"])}

    assert found["Docker"].found == f"Engine {engine.version()['Version']}"
    assert {finding.state for finding in found.values()} == {State.WORKS}
    assert "container images" in found
