"""A deployment that fails: what the message says, and what is left behind."""

from dataclasses import replace

import pytest
import yaml

from components.deploy.__main__ import main
from components.deploy.deployment import deploy
from components.deploy.kserve.inference_service import Target
from components.deploy.kserve.waiting import Patience
from segmentor import retrying
from segmentor.errors import DeployError
from tests.components.deploy.conftest import NAMESPACE, TOKEN, write_kubeconfig
from tests.components.deploy.deploy_builders import scaled, write_artifacts, write_inputs

# A namespace without a ServingRuntime.
ELSEWHERE = Target("road", "elsewhere", "segmentor-predictor")


def test_a_runtime_that_is_not_there_is_named(api_server, plan, tmp_path):
    with pytest.raises(DeployError) as failure:
        deploy(*write_artifacts(tmp_path), replace(plan, target=ELSEWHERE))
    assert "RuntimeNotRecognized: No runtime onnx-segmentation" in str(failure.value)
    assert "nothing was served before, so it is stopped" in str(failure.value)


def test_the_deadline_says_what_was_awaited(api_server, plan, tmp_path):
    patience = Patience(deadline=0.5, poll=0.1, failure=60)
    rollout = replace(plan.rollout, patience=patience)
    with pytest.raises(DeployError, match=r"not ready after 0\.5 s, waiting for a Deployment"):
        deploy(*write_artifacts(tmp_path), replace(plan, target=ELSEWHERE, rollout=rollout))


def _run(tmp_path, plan, *flags):
    inputs = write_inputs(tmp_path)
    target = [
        "--model-name",
        "road",
        "--namespace",
        NAMESPACE,
        "--destination",
        plan.destination,
    ]
    return main([*inputs, *target, "--apply", "true", *flags])


def test_a_wrong_token_is_one_line(api_server, plan, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, api_server.url, "wrong")))
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
    headers = {"Authorization": f"Bearer {TOKEN}"}
    path = "/apis/serving.kserve.io/v9/namespaces/a/x/b"
    assert api_server.request("GET", path, headers=headers).status_code == 403
    assert (
        api_server.apply({**scaled(NAMESPACE, 1), "spec": {"predictor": {"x": 1}}}).status_code
        == 422
    )
    both = scaled(NAMESPACE, 1)
    both["spec"]["predictor"]["containers"] = [{"name": "a", "image": "b"}]
    assert "admission webhook denied" in api_server.apply(both).json()["message"]


def test_an_api_server_that_stays_away_is_one_line(plan, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(retrying, "LAPTOP_SECONDS", 1.0)
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, "http://127.0.0.1:9", TOKEN)))
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
