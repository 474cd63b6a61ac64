"""Checks of what is outside this package: a GPU, an object store, Docker Engine, a cluster.

Each runs in a process of its own (`python -m pipelines.doctor NAME`), which can be ended.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from components.container_images import DATA, PREDICTOR, TRAINER
from pipelines.doctor.cluster import check_cluster, check_pipelines
from pipelines.doctor.finding import Finding, State
from segmentor.retrying import failure_name

CONNECT_SECONDS = 5
DOCKER_SOCKET = "unix:///var/run/docker.sock"
Check = Callable[[], list[Finding]]


def check_gpu() -> list[Finding]:
    """Ask torch for GPUs."""
    try:
        from components.train.machine import gpu_names
    except ModuleNotFoundError:
        return [Finding("GPU", State.OFF, "no torch to ask", "pip install '.[trainer]'")]
    if names := gpu_names():
        return [Finding("GPU", State.WORKS, ", ".join(names))]
    found = f"torch {version('torch')} sees none"
    if shutil.which("nvidia-smi"):
        remedy = "install a torch build for this driver (nvidia-smi shows its CUDA version)"
        return [Finding("GPU", State.FAILS, f"{found}, but the driver is here", remedy)]
    return [Finding("GPU", State.OFF, found, "none is needed: training runs on the CPU")]


def check_store() -> list[Finding]:
    """List the buckets of the object store that the environment names."""
    import urllib3
    from minio.error import MinioException, S3Error

    from segmentor.object_store import ObjectStore

    remedy = "set S3_ENDPOINT and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    if not (os.environ.get("S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL")):
        found = "S3_ENDPOINT is not set; local runs start a store of their own"
        return [Finding("S3", State.OFF, found, remedy)]
    store = ObjectStore.from_environment()
    if problem := _connection_problem(store.endpoint):
        return [Finding("S3", State.FAILS, f"{store.endpoint}: {problem}", "check S3_ENDPOINT")]
    has_keys = bool(os.environ.get("AWS_ACCESS_KEY_ID"))
    try:
        buckets = store.client.list_buckets()
    except S3Error as error:
        if error.code == "AccessDenied" and has_keys:
            # Keys for one bucket often may not list the others.
            found = f"{store.endpoint}, the keys may not list buckets"
            return [Finding("S3", State.WORKS, found)]
        found = f"{store.endpoint}: {error.code} ({error.message})"
        return [Finding("S3", State.FAILS, found, remedy)]
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        found = f"{store.endpoint}: no answer ({failure_name(error)})"
        remedy = "check S3_ENDPOINT; is there a firewall or a proxy between?"
        return [Finding("S3", State.FAILS, found, remedy)]
    names = ", ".join(bucket.name for bucket in buckets[:5]) or "no bucket yet"
    more = f" and {len(buckets) - 5} more" if len(buckets) > 5 else ""
    return [Finding("S3", State.WORKS, f"{store.endpoint}: {names}{more}")]


def check_docker() -> list[Finding]:
    """Ask Docker Engine for its version and for the container images of the steps."""
    import docker

    host = os.environ.get("DOCKER_HOST") or DOCKER_SOCKET
    remedy = "start Docker Engine, or set DOCKER_HOST"
    is_socket = host.startswith("unix://")
    if is_socket and not Path(host.removeprefix("unix://")).exists():
        state = State.FAILS if os.environ.get("DOCKER_HOST") else State.OFF
        return [Finding("Docker", state, f"no engine at {host}", remedy)]
    try:
        with contextlib.closing(docker.from_env(timeout=CONNECT_SECONDS)) as client:
            engine = Finding("Docker", State.WORKS, f"Engine {client.version()['Version']}")
            missing = [name for name in (DATA, TRAINER, PREDICTOR) if not client.images.list(name)]
    except docker.errors.DockerException as error:
        return [Finding("Docker", State.FAILS, f"{host}: {error}", remedy)]
    subject = "container images"
    if missing:
        return [engine, Finding(subject, State.OFF, f"no {', '.join(missing)}", "make images")]
    return [engine, Finding(subject, State.WORKS, ", ".join((DATA, TRAINER, PREDICTOR)))]


def _connection_problem(endpoint: str) -> str:
    """Return why nothing listens at an endpoint; '' if something does.

    Asked first, because the client tries again for half a minute.
    """
    parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except OSError as error:
        return str(error.strerror or error)
    return ""


# By the subject of their first finding.
CHECKS: dict[str, Check] = {
    "GPU": check_gpu,
    "S3": check_store,
    "Docker": check_docker,
    "Kubernetes": check_cluster,
    "Kubeflow Pipelines": check_pipelines,
}
