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
PATIENCE = Patience(deadline=250, poll=1.0, failure=1)


@dataclass
class ApiServer:
    url: str
    port_file: Path

    def request(self, method: str, path: str, **options):
        headers = {"Authorization": f"Bearer {TOKEN}", **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=100, **options)

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

    def used(self) -> set[tuple[str, str, str]]:
        """Returns each (group, resource, verb) that was asked for."""
        return {tuple(item) for item in self.request("GET", "/used").json()}


@pytest.fixture(scope="session")
def api_process(store_environment, tmp_path_factory, repository):
    """Starts the process, once for all tests; it is no child with a main module to import."""
    port_file = tmp_path_factory.mktemp("api") / "port"
    code = (
        "import sys; from tests.components.deploy.fake_api_server import main; main(*sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, port_file, TOKEN],
        cwd=repository,
        env={**os.environ, **store_environment, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 200
    while not port_file.is_file():
        assert process.poll() is None, "the fake API server did not start"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield ApiServer(f"http://127.0.0.1:{port_file.read_text()}", port_file)
    process.send_signal(signal.SIGTERM)
    process.wait(100)


@pytest.fixture
def start_api_server(api_process, store, tmp_path, monkeypatch):
    """Returns a server that is as new, with a Role, and points KUBECONFIG at it."""

    def start(role: Path) -> ApiServer:
        rules = next(yaml.safe_load_all(role.read_text()))["rules"]
        assert api_process.request("POST", "/role", data=json.dumps(rules)).status_code == 200
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, api_process.url, TOKEN)))
        return api_process

    return start


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
