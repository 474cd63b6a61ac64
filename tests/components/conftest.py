"""A fake API server process, which the steps that use a cluster share."""

import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from tests.emulators.fake_api_server import ADMINISTRATOR
from tests.waiting import wait_for

TOKEN = "a-token"
NAMESPACE = "segmentor"


@dataclass
class ApiServer:
    url: str
    port_file: Path

    def request(self, method: str, path: str, **options):
        headers = {"Authorization": f"Bearer {ADMINISTRATOR}", **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=100, **options)

    def service(self) -> dict:
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/road"
        return self.request("GET", path).json()

    def runtime(self) -> dict:
        path = f"/apis/serving.kserve.io/v1alpha1/namespaces/{NAMESPACE}/servingruntimes"
        return self.request("GET", f"{path}/onnx-segmentation").json()

    def write_addresses(self, form: str) -> None:
        """Chooses how KServe writes the cluster's own address from now on."""
        self.port_file.with_suffix(".address").write_text(form)

    def deployed_image(self) -> str:
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/road-predictor"
        deployment = self.request("GET", path).json()
        return deployment["spec"]["template"]["spec"]["containers"][0]["image"]

    def apply(self, manifest: dict, manager: str = "kubectl", force: bool = False):
        version, kind = manifest["apiVersion"], manifest["kind"].lower()
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        namespace = "" if kind == "namespace" else f"/namespaces/{NAMESPACE}"
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        path = f"{root}{namespace}/{plural}/{manifest['metadata']['name']}"
        return self._patch(path, "apply-patch+yaml", manifest, manager, force=str(force).lower())

    def patch(self, path: str, manager: str, changes: dict):
        return self._patch(path, "merge-patch+json", changes, manager)

    def _patch(self, path: str, kind: str, body: dict, manager: str, **query: str):
        return self.request(
            "PATCH",
            path,
            params={"fieldManager": manager, **query},
            data=json.dumps(body),
            headers={"Content-Type": f"application/{kind}"},
        )

    def trouble(self, *words: str) -> None:
        """Makes the next watches fail, each as its word says."""
        self.port_file.with_suffix(".faults").write_text(" ".join(words))

    def troubles(self) -> list[str]:
        """Returns the words that no watch has taken yet."""
        return self.port_file.with_suffix(".faults").read_text().split()

    def script(self, **script) -> None:
        """Says how Kubeflow Trainer's next jobs go (tests/emulators/fake_trainer.py)."""
        assert self.request("POST", "/trainer", data=json.dumps(script)).status_code == 200

    def used(self) -> set[tuple[str, str, str]]:
        """Returns each (group, resource, verb) that was asked for."""
        return {tuple(item) for item in self.request("GET", "/used").json()}


@pytest.fixture(scope="session")
def api_process(store_environment, tmp_path_factory, repository):
    """Starts the process, once for all tests; it is no child with a main module to import."""
    port_file = tmp_path_factory.mktemp("api") / "port"
    code = "import sys; from tests.emulators.fake_api_server import main; main(*sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, port_file, TOKEN],
        cwd=repository,
        env={**os.environ, **store_environment, "OMP_NUM_THREADS": "1"},
    )
    wait_for(port_file.is_file, process)
    yield ApiServer(f"http://127.0.0.1:{port_file.read_text()}", port_file)
    process.send_signal(signal.SIGTERM)
    process.wait(100)


def write_kubeconfig(folder: Path, url: str, token: str, namespace: str = NAMESPACE) -> Path:
    path = folder / f"kubeconfig-{uuid.uuid4().hex[:6]}"
    context = {"cluster": "c", "user": "u", "namespace": namespace}
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": context}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(value))
    return path
