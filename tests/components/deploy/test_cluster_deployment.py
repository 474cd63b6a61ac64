"""Deploy against a fake API server process that has KServe's rules and the real predictor."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
import yaml

from components.deploy.__main__ import main
from components.deploy.cluster import Cluster
from components.deploy.deployment import Plan, deploy
from components.deploy.gate import Thresholds
from components.deploy.inference_service import Target, render_inference_service
from components.deploy.rollout import Patience, wait_until_served
from components.deploy.serving_cluster import Rollout, live_values
from segmentor.errors import DeployError
from segmentor.object_store import ObjectUri
from tests.builders import scenes, write_dataset
from tests.components.deploy.deploy_builders import (
    write_evaluation,
    write_inputs,
    write_model,
    write_parity,
)

TOKEN = "a-token"
NAMESPACE = "segmentor"
PATIENCE = Patience(deadline=60, poll=0.1, failure=1)


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
        monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path, servers[-1].url, TOKEN)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def api_server(start_api_server, repository):
    return start_api_server(repository / "manifests/base/deployer_rbac.yaml")


def _kubeconfig(folder: Path, url: str, token: str) -> Path:
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
        Rollout(PATIENCE, "segmentor-predictor:0.1.0", 1e-5, None),
    )


def _inputs(folder: Path, scores=None, **model) -> tuple[Path, Path, Path, Path]:
    digest = write_model(folder / "model", **model)
    write_evaluation(folder / "evaluation", scores)
    write_parity(folder / "parity.json", digest)
    return folder / "model", folder / "evaluation", folder / "parity.json", folder / "deployment"


def _test_set(folder: Path) -> Path:
    write_dataset(folder, scenes(6))
    return folder


def _uri(server: ApiServer) -> str:
    return server.service()["spec"]["predictor"]["model"]["storageUri"]


def _replicas(count: int) -> dict:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "road", "namespace": NAMESPACE},
        "spec": {
            "predictor": {
                "minReplicas": count,
                "model": {"modelFormat": {"name": "onnx-segmentation"}},
            }
        },
    }


def test_from_first_deployment_to_rollback(api_server, plan, store, tmp_path, caplog):
    caplog.set_level("INFO")
    # The first version: applied, waited for, and asked.
    deploy(*_inputs(tmp_path / "v1"), replace(plan, version="v1"))
    record = json.loads((tmp_path / "v1/deployment/deployment.json").read_text())
    assert record["applied"]
    assert record["url"].startswith("http://127.0.0.1:")
    assert record["previous_uri"] == ""
    first = f"{plan.destination}/road/v1/"
    assert _uri(api_server) == first == record["uri"]
    ready = requests.get(f"{record['url']}/v1/models/road", timeout=10)
    assert ready.status_code == 200

    # An operator scales it; the next version leaves that alone, and replaces the first.
    assert api_server.apply(_replicas(3)).status_code == 200
    rollout = replace(plan.rollout, test=_test_set(tmp_path / "test"))
    deploy(*_inputs(tmp_path / "v2", gain=0.9), replace(plan, version="v2", rollout=rollout))
    assert "golden images=5 pixels=30720 flipped=0" in caplog.text
    record = json.loads((tmp_path / "v2/deployment/deployment.json").read_text())
    assert record["previous_uri"] == first
    (champion,) = [check for check in record["gate"] if "served version" in check["name"]]
    assert champion["found"] == "+0.0000 [+0.0000, +0.0000] on 8 images"
    live = api_server.service()
    assert live["spec"]["predictor"]["minReplicas"] == 3
    second = live["spec"]["predictor"]["model"]["storageUri"]
    assert second == f"{plan.destination}/road/v2/"
    annotations = live["metadata"]["annotations"]

    # A model that loads, but does not run: diagnosed from its log, and rolled back.
    with pytest.raises(DeployError) as failure:
        deploy(*_inputs(tmp_path / "v3", fault="shape"), replace(plan, version="v3"))
    message = str(failure.value)
    assert "InferenceService segmentor/road: it failed: pod road-predictor-" in message
    assert "container kserve-container: exit code" in message
    assert f"rolled back to {second}, which is ready" in message
    assert _uri(api_server) == second
    assert api_server.service()["metadata"]["annotations"] == annotations
    assert "event BackOff" in caplog.text
    assert not (tmp_path / "v3/deployment").exists()

    # A model whose masks are not the evaluated ones: the golden request finds it.
    with pytest.raises(DeployError, match="pixels differ from the evaluated masks") as failure:
        deploy(*_inputs(tmp_path / "v4", fault="noise"), replace(plan, version="v4"))
    assert f"rolled back to {second}, which is ready" in str(failure.value)
    live = api_server.service()
    assert live["spec"]["predictor"]["model"]["storageUri"] == second
    assert live["spec"]["predictor"]["minReplicas"] == 3

    # A model that is gone when the pod fetches it: the init container's log says so.
    store.client.remove_object(plan.destination[5:], "road/v1/model.onnx")
    for name in ("evaluation.json", "model.json", "per_image.csv"):
        store.client.remove_object(plan.destination[5:], f"road/v1/{name}")
    gone = render_inference_service(plan.target, first, "v1", "sha256:gone", {}, "")
    assert api_server.apply(gone, "segmentor-deploy", force=True).status_code == 200
    with pytest.raises(DeployError, match="container storage-initializer: exit code 1 .*No model"):
        wait_until_served(Cluster(), plan.target, "sha256:gone", PATIENCE)

    # The Role grants what all of this needed, and nothing more.
    (role, _binding) = yaml.safe_load_all(Path("manifests/base/deployer_rbac.yaml").read_text())
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert api_server.stop() == granted


def test_a_worse_model_does_not_replace_the_champion(api_server, plan, store, tmp_path):
    scores = {f"image-{index}": 0.9 for index in range(20)}
    deploy(*_inputs(tmp_path / "v1", scores), replace(plan, version="v1"))
    worse = {name: 0.8 + (index % 3) / 100 for index, name in enumerate(scores)}
    with pytest.raises(DeployError, match=r"iou against the served version -0\.09\d\d \["):
        deploy(*_inputs(tmp_path / "v2", worse, gain=0.9), replace(plan, version="v2"))
    assert _uri(api_server).endswith("/v1/")
    assert not store.exists(ObjectUri.parse(f"{plan.destination}/road/v2/model.onnx"))
    # The operator may accept the drop.
    accepted = replace(plan, version="v2", thresholds=Thresholds(0.5, 1e-4, 1e-5, 0.2))
    deploy(*_inputs(tmp_path / "v2", worse, gain=0.9), accepted)
    assert _uri(api_server).endswith("/v2/")


def test_a_runtime_that_is_not_there_is_named(api_server, plan, tmp_path):
    rollout = replace(plan.rollout, predictor_image="")
    with pytest.raises(DeployError) as failure:
        deploy(*_inputs(tmp_path), replace(plan, rollout=rollout))
    assert "RuntimeNotRecognized: No runtime onnx-segmentation" in str(failure.value)
    assert "nothing was served before" in str(failure.value)


def test_the_deadline_says_what_was_awaited(api_server, plan, tmp_path):
    patience = Patience(deadline=0.5, poll=0.1, failure=60)
    rollout = replace(plan.rollout, predictor_image="", patience=patience)
    with pytest.raises(DeployError, match=r"not ready after 0\.5 s, waiting for a Deployment"):
        deploy(*_inputs(tmp_path), replace(plan, rollout=rollout))


def _run(tmp_path, plan, *flags):
    inputs = write_inputs(tmp_path)
    target = ["--name", "road", "--namespace", NAMESPACE, "--destination", plan.destination]
    return main([*inputs, *target, "--apply", "true", *flags])


def test_a_wrong_token_is_one_line(api_server, plan, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path, api_server.url, "wrong")))
    assert _run(tmp_path, plan) == 3
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert "HTTP 401 from the API server (Unauthorized)" in error
    assert "check the service account's token" in error


def test_a_missing_right_names_the_role(start_api_server, plan, tmp_path, capfd):
    role = tmp_path / "role.yaml"
    rule = {
        "apiGroups": ["serving.kserve.io"],
        "resources": ["inferenceservices"],
        "verbs": ["get"],
    }
    role.write_text(yaml.safe_dump({"rules": [rule]}))
    start_api_server(role)
    assert _run(tmp_path, plan) == 3
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert "HTTP 403 from the API server (cannot create resource" in error
    assert "bind the Role segmentor-deployer to the pipeline's service account" in error


def test_the_server_itself_refuses_what_a_cluster_refuses(api_server):
    response = api_server.request("GET", "/apis/serving.kserve.io/v9/namespaces/a/x/b")
    assert response.status_code == 403
    assert api_server.apply({**_replicas(1), "spec": {"predictor": {"x": 1}}}).status_code == 422
    both = _replicas(1)
    both["spec"]["predictor"]["containers"] = [{"name": "a", "image": "b"}]
    assert "admission webhook denied" in api_server.apply(both).json()["message"]


def test_kubectl_is_told_when_it_would_take_the_version_back(api_server, plan, tmp_path):
    deploy(*_inputs(tmp_path / "v1"), replace(plan, version="v1"))
    manifest = _replicas(2)
    manifest["spec"]["predictor"]["model"]["storageUri"] = "s3://models/road/v0/"
    response = api_server.apply(manifest)
    assert response.status_code == 409
    assert "conflict with segmentor-deploy: .spec.predictor.model.storageUri" in response.text
    assert _uri(api_server).endswith("/v1/")


def test_an_api_server_that_is_away_is_one_line(plan, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path, "http://127.0.0.1:9", TOKEN)))
    assert _run(tmp_path, plan) == 3
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: cluster: no answer from http://127.0.0.1:9 (")
    assert not (tmp_path / "deployment").exists()


def test_no_kubeconfig_is_one_line(plan, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _run(tmp_path, plan) == 3
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert "set KUBECONFIG, or run with --apply false" in error


def test_live_values_are_restored_and_what_was_not_there_is_dropped():
    manifest = {
        "kind": "K",
        "metadata": {"annotations": {"a": "new", "b": "new"}},
        "spec": {"x": 2},
    }
    live = {"metadata": {"annotations": {"a": "old", "z": "other"}}, "spec": {"x": 1, "y": 7}}
    assert live_values(manifest, live) == {
        "kind": "K",
        "metadata": {"annotations": {"a": "old"}},
        "spec": {"x": 1},
    }
