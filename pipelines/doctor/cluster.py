"""Checks of the cluster that kubectl uses: its API, KServe, and Kubeflow Pipelines."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pipelines.cluster.client import ENDPOINT, ServerError, connect
from pipelines.doctor.finding import Finding, State
from segmentor.errors import ConfigError
from segmentor.retrying import failure_name, is_in_pod

KSERVE_GROUP = "serving.kserve.io"
# Seconds to connect, and to wait for an answer.
TIMEOUT = (5, 8)
_NO_CLUSTER = "docs/cluster/kind.md makes a cluster"


def check_cluster() -> list[Finding]:
    """Find kubectl, and ask the API server for its version and for KServe."""
    return [_kubectl(), *_api_server()]


def check_pipelines() -> list[Finding]:
    """Ask Kubeflow Pipelines for its health, with the credentials that submit takes."""
    subject = "Kubeflow Pipelines"
    try:
        client = connect()
    except ConfigError as error:
        state = State.FAILS if os.environ.get(ENDPOINT) else State.OFF
        remedy = f"set {ENDPOINT} (docs/cluster/running.md)"
        return [Finding(subject, state, f"{error.where}: {error.found}", remedy)]
    except ServerError as error:
        is_absent = not os.environ.get(ENDPOINT) and error.found.startswith("refused 404")
        state = State.OFF if is_absent else State.FAILS
        remedy = "docs/cluster.md installs it" if is_absent else error.remedy
        return [Finding(subject, state, f"{error.where}: {error.found}", remedy)]
    health = client.get_kfp_healthz()
    users = "several users" if health.multi_user else "one user"
    where = os.environ.get(ENDPOINT) or "by the API server of the cluster"
    return [Finding(subject, State.WORKS, f"{where}, {users}")]


def _kubectl() -> Finding:
    program = shutil.which("kubectl")
    if program is None:
        return Finding("kubectl", State.OFF, "not on PATH", "install it to apply manifests/")
    done = subprocess.run(
        [program, "version", "--client", "--output=json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT[1],
    )
    if done.returncode:
        found = f"{program}: {done.stderr.strip() or done.returncode}"
        return Finding("kubectl", State.FAILS, found, "install it again")
    return Finding("kubectl", State.WORKS, json.loads(done.stdout)["clientVersion"]["gitVersion"])


def _api_server() -> list[Finding]:
    import kubernetes
    import urllib3
    from kubernetes.client.exceptions import ApiException

    subject = "Kubernetes"
    file = Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    configuration = kubernetes.client.Configuration()
    configuration.retries = False
    try:
        if is_in_pod():
            context = "the pod's service account"
            kubernetes.config.load_incluster_config(client_configuration=configuration)
        elif os.environ.get("KUBECONFIG") or file.exists():
            context = _context(file)
            kubernetes.config.load_kube_config(str(file), client_configuration=configuration)
        else:
            return [Finding(subject, State.OFF, f"no {file}", _NO_CLUSTER)]
    except kubernetes.config.ConfigException as error:
        return [Finding(subject, State.FAILS, f"{file}: {error}", "set KUBECONFIG")]
    api = kubernetes.client.ApiClient(configuration)
    try:
        version = kubernetes.client.VersionApi(api).get_code(_request_timeout=TIMEOUT)
        groups = kubernetes.client.ApisApi(api).get_api_versions(_request_timeout=TIMEOUT).groups
    except ApiException as error:
        found = f"{context}: HTTP {error.status} ({error.reason})"
        return [Finding(subject, State.FAILS, found, "log in, or choose another context")]
    except (urllib3.exceptions.HTTPError, OSError) as error:
        found = f"{context}: no answer from {configuration.host} ({failure_name(error)})"
        remedy = "start the cluster, or: kubectl config use-context"
        return [Finding(subject, State.FAILS, found, remedy)]
    return [Finding(subject, State.WORKS, f"{context}, {version.git_version}"), _kserve(groups)]


def _context(file: Path) -> str:
    import kubernetes

    _, active = kubernetes.config.list_kube_config_contexts(str(file))
    return f"context {active['name']}"


def _kserve(groups: list[Any]) -> Finding:
    for group in groups:
        if group.name == KSERVE_GROUP:
            versions = ", ".join(item.version for item in group.versions)
            return Finding("KServe", State.WORKS, f"{KSERVE_GROUP} {versions}")
    found = f"the cluster has no {KSERVE_GROUP}"
    return Finding("KServe", State.OFF, found, "docs/cluster.md installs it")
