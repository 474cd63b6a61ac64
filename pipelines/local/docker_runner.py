"""Runs each container command with Docker Engine, in the real container images.

kfp's own DockerRunner removes containers as they end, cannot always read their exit code then, and
takes an unknown one for success (measured: 1 of 30 quick failures). Here a container is removed
after its exit code was read.
"""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.local.step_runner import StepCommand
from segmentor.errors import SegmentorError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

# What a step may know of the caller's environment; all else belongs to its image.
PASSED_ON = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "S3_ENDPOINT",
    "OMP_NUM_THREADS",
    "SEGMENTOR_LOG_LEVEL",
)
SHARED_MEMORY = "2g"  # Docker's 64 MB starve data loaders


class DockerRunner:
    """Run commands in containers that see the run folder and the given inputs at their paths."""

    def __init__(self, environment: Mapping[str, str], inputs: Sequence[Path] = ()) -> None:
        """Create the runner.

        Args:
            environment: The caller's; only what PASSED_ON names goes into containers.
            inputs: Files and folders outside the run folder that steps read; mounted read-only.
        """
        self._environment = {name: environment[name] for name in PASSED_ON if name in environment}
        self._inputs = list(inputs)
        self._lock = threading.Lock()
        self._running: set[Container] = set()
        self._is_stopping = False

    def run(self, step: StepCommand) -> int:
        """Run the command in its image, its output into the log; return its exit code.

        Raises:
            SegmentorError: Docker Engine does not answer, or has no such image.
        """
        import docker

        step.log.parent.mkdir(parents=True, exist_ok=True)
        with _client() as client:
            try:
                container = self._create(client, step)
            except docker.errors.ImageNotFound:
                raise SegmentorError(
                    f"container image {step.image}", "not on this machine", remedy="run make images"
                ) from None
            except docker.errors.APIError as error:
                raise SegmentorError("Docker Engine", str(error.explanation or error)) from error
            try:
                return self._follow(container, step.log)
            finally:
                # By force, because after Ctrl-C the container may still be running.
                with contextlib.suppress(docker.errors.NotFound):
                    container.remove(force=True)

    def stop(self) -> None:
        """Stop every running container; later ones do not start."""
        import docker

        with self._lock:
            self._is_stopping = True
            running = list(self._running)
        for container in running:
            with contextlib.suppress(docker.errors.APIError):
                container.kill()

    def _create(self, client: "DockerClient", step: StepCommand) -> "Container":
        volumes = {str(path): {"bind": str(path), "mode": "ro"} for path in self._inputs}
        volumes[str(step.folder)] = {"bind": str(step.folder), "mode": "rw"}
        return client.containers.create(
            image=step.image,
            command=list(step.command),
            environment={**self._environment, **step.environment},
            volumes=volumes,
            # The caller's user, who then owns the artifacts and may write them.
            user=f"{os.getuid()}:{os.getgid()}",
            # Containers must reach an object store on this machine's loopback.
            network_mode="host",
            shm_size=SHARED_MEMORY,
            init=True,
        )

    def _follow(self, container: "Container", log: Path) -> int:
        with self._lock:
            if self._is_stopping:
                return 143
            container.start()
            self._running.add(container)
        try:
            output = container.logs(stream=True, follow=True)
            with log.open("ab") as file, contextlib.closing(output):
                for block in output:
                    file.write(block)
                    file.flush()
            return int(container.wait()["StatusCode"])
        finally:
            with self._lock:
                self._running.discard(container)


@contextlib.contextmanager
def _client() -> Iterator["DockerClient"]:
    import docker

    try:
        client = docker.from_env()  # asks the engine for its version
    except docker.errors.DockerException as error:
        raise SegmentorError(
            "Docker Engine", f"no answer ({error})", remedy="start it, or use --runner host"
        ) from error
    with contextlib.closing(client):
        yield client
