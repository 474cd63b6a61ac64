"""A fake API server process with KServe's rules, and what is deployed to it."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from components.deploy.deployment import Plan
from components.deploy.gate import Thresholds
from components.deploy.inference_service import Target
from components.deploy.rollout import Patience
from components.deploy.serving_cluster import Rollout

TOKEN = "a-token"
NAMESPACE = "segmentor"
# Processes start slowly on a busy machine.
PATIENCE = Patience(deadline=180, poll=1.0, failure=1)


@dataclass
class ApiServer:
    url: str
    process: subprocess.Popen
    port_file: Path

    def request(self, method: str, path: str, **options):
        headers = {"Authorization": f"Bearer {TOKEN}", **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=10, **options)

    def service(self) -> dict:
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/road"
        return self.request("GET", path).json()

    def runtime_image(self) -> str:
        path = f"/apis/serving.kserve.io/v1alpha1/namespaces/{NAMESPACE}/servingruntimes"
        runtime = self.request("GET", f"{path}/onnx-segmentation").json()
        return runtime["spec"]["containers"][0]["image"]

    def write_addresses(self, form: str) -> None:
        """Chooses how KServe writes the cluster's own address from now on."""
        self.port_file.with_suffix(".address").write_text(form)

    def notice_runtimes(self, noticed: bool) -> None:
        """Chooses whether KServe notices that a ServingRuntime was changed."""
        late = self.port_file.with_suffix(".late")
        late.unlink(missing_ok=True) if noticed else late.touch()

    def deployed_image(self) -> str:
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/road-predictor"
        deployment = self.request("GET", path).json()
        return deployment["spec"]["template"]["spec"]["containers"][0]["image"]

    def apply(self, manifest: dict, manager: str = "kubectl", force: bool = False):
        path = (
            f"/apis/{manifest['apiVersion']}/namespaces/{NAMESPACE}"
            f"/{manifest['kind'].lower()}s/{manifest['metadata']['name']}"
        )
        return self.request(
            "PATCH",
            path,
            params={"fieldManager": manager, "force": str(force).lower()},
            data=json.dumps(manifest),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def trouble(self, *words: str) -> None:
        """Makes the next watches fail, each as its word says."""
        self.port_file.with_suffix(".faults").write_text(" ".join(words))

    def stop(self) -> set[tuple[str, str, str]]:
        """Stops the server; returns each (group, resource, verb) that it was asked for."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        return {tuple(item) for item in json.loads(self.port_file.with_suffix(".used").read_text())}


@pytest.fixture
def start_api_server(store, tmp_path, repository, monkeypatch):
    """Starts the process with a Role, and points KUBECONFIG at it."""
    servers = []

    def start(role: Path) -> ApiServer:
        port_file = tmp_path / f"api-{len(servers)}" / "port"
        port_file.parent.mkdir()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.components.deploy.fake_api_server"),
                *(port_file, role, TOKEN),
            ],
            cwd=repository,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 60
        while not port_file.is_file():
            assert process.poll() is None, "the fake API server did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        servers.append(ApiServer(f"http://127.0.0.1:{port_file.read_text()}", process, port_file))
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, servers[-1].url, TOKEN)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def api_server(start_api_server, repository):
    return start_api_server(repository / "manifests/base/deployer_rbac.yaml")


def write_kubeconfig(folder: Path, url: str, token: str) -> Path:
    path = folder / f"kubeconfig-{uuid.uuid4().hex[:6]}"
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.fixture
def plan(store):
    return Plan(
        Target("road", NAMESPACE, "segmentor-predictor"),
        Thresholds(0.5, 1e-4, 1e-5),
        f"s3://models-{uuid.uuid4().hex[:12]}",
        "",
        Rollout(PATIENCE, "segmentor-predictor:0.1.0", 1e-5),
    )
