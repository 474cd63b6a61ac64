"""From the first deployment to a rollback, with the real predictor behind the API server."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import yaml

from components.deploy.deployment import deploy
from components.deploy.kserve.caller import DEPLOYER
from components.deploy.kserve.inference_service import render_inference_service
from components.deploy.kserve.waiting import wait_until_served
from components.deploy.options import DeployOptions
from components.kubernetes_api import Cluster
from segmentor.errors import DeployError
from segmentor.object_uri import ObjectUri
from tests.builders import scenes, write_dataset
from tests.components.deploy.conftest import NAMESPACE, PATIENCE, ApiServer
from tests.components.deploy.deploy_builders import scaled, write_artifacts


def _test_set(folder: Path) -> Path:
    write_dataset(folder, scenes(6))
    return folder


def _uri(server: ApiServer) -> str:
    return server.service()["spec"]["predictor"]["model"]["storageUri"]


def test_from_first_deployment_to_rollback(api_server, plan, store, tmp_path, caplog):
    caplog.set_level("INFO")
    # The first version: applied, waited for, and asked.
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    record = json.loads((tmp_path / "v1/deployment/deployment.json").read_text())
    assert record["applied"]
    assert record["url"].startswith("http://127.0.0.1:")
    assert record["previous_uri"] == ""
    first = f"{plan.destination}/road/v1/"
    assert _uri(api_server) == first == record["uri"]
    ready = requests.get(f"{record['url']}/v1/models/road", timeout=10)
    assert ready.status_code == 200

    # An operator scales it; the next version leaves that alone, and replaces the first.
    assert api_server.apply(scaled(NAMESPACE, 3)).status_code == 200
    test = _test_set(tmp_path / "test")
    deploy(*write_artifacts(tmp_path / "v2", gain=0.9), replace(plan, version="v2", test=test))
    assert "golden engine=onnxruntime images=6 pixels=36864 flipped=0" in caplog.text
    record = json.loads((tmp_path / "v2/deployment/deployment.json").read_text())
    assert record["previous_uri"] == first
    (champion,) = [check for check in record["gate"] if "served version" in check["name"]]
    assert champion["found"] == "+0.0000 [+0.0000, +0.0000] on 8 images"
    live = api_server.service()
    assert live["spec"]["predictor"]["minReplicas"] == 3
    second = live["spec"]["predictor"]["model"]["storageUri"]
    assert second == f"{plan.destination}/road/v2/"
    annotations = live["metadata"]["annotations"]
    page = (tmp_path / "v2/deployment_report").read_text(encoding="utf-8")
    assert f"<th>served before</th><td>{first}</td>" in page
    assert f"<th>served now</th><td>{second}</td>" in page
    assert f"{record['url']}/v1/models/road:predict" in page
    assert page.count("data:image/jpeg;base64,") == 6

    # A model that loads, but does not run: diagnosed from its log, and rolled back.
    with pytest.raises(DeployError) as failure:
        deploy(*write_artifacts(tmp_path / "v3", fault="shape"), replace(plan, version="v3"))
    message = str(failure.value)
    assert (
        "InferenceService segmentor/road: the predictor ended with exit code 3: error: " in message
    )
    assert "a model that does not run" in message
    assert f"rolled back to {second}, which is ready" in message
    assert _uri(api_server) == second
    assert api_server.service()["metadata"]["annotations"] == annotations
    assert "event BackOff" in caplog.text
    assert not (tmp_path / "v3/deployment").exists()

    # A model whose masks are not the evaluated ones: the golden request finds it.
    with pytest.raises(DeployError, match="differ from the evaluated masks") as failure:
        deploy(*write_artifacts(tmp_path / "v4", fault="noise"), replace(plan, version="v4"))
    assert f"rolled back to {second}, which is ready" in str(failure.value)
    live = api_server.service()
    assert live["spec"]["predictor"]["model"]["storageUri"] == second
    assert live["spec"]["predictor"]["minReplicas"] == 3

    # With a test set its pods compare the masks themselves: none of them ever takes a request.
    with pytest.raises(DeployError, match="ended with exit code 3: error: golden") as failure:
        deploy(
            *write_artifacts(tmp_path / "v5", fault="noise"),
            replace(plan, version="v5", test=test),
        )
    assert f"rolled back to {second}, which is ready" in str(failure.value)

    # The model is gone when the pod fetches it: the log of the init container says so.
    store.client.remove_object(plan.destination[5:], "road/v1/model.onnx")
    for name in ("evaluation.json", "model.json", "per_image.csv"):
        store.client.remove_object(plan.destination[5:], f"road/v1/{name}")
    gone = render_inference_service(plan.target, first, "v1", "sha256:gone")
    assert api_server.apply(gone, "segmentor-deploy", force=True).status_code == 200
    with pytest.raises(
        DeployError, match="the model could not be fetched, exit code 1: .*No model"
    ):
        wait_until_served(Cluster(DEPLOYER), plan.target, api_server.service(), PATIENCE)

    # The Role grants what all of this needed, and nothing more.
    (role, _binding) = yaml.safe_load_all(Path("manifests/base/deployer_rbac.yaml").read_text())
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert api_server.used() == granted


def test_a_worse_model_does_not_replace_the_champion(api_server, plan, store, tmp_path):
    scores = {f"image-{index}": 0.9 for index in range(20)}
    deploy(*write_artifacts(tmp_path / "v1", scores), replace(plan, version="v1"))
    worse = {name: 0.8 + (index % 3) / 100 for index, name in enumerate(scores)}
    with pytest.raises(DeployError, match=r"iou against the served version -0\.09\d\d \["):
        deploy(*write_artifacts(tmp_path / "v2", worse, gain=0.9), replace(plan, version="v2"))
    assert _uri(api_server).endswith("/v1/")
    assert not store.exists(ObjectUri.parse(f"{plan.destination}/road/v2/model.onnx"))
    # The operator may accept the drop.
    accepted = replace(plan, version="v2", limits=DeployOptions(max_iou_drop=0.2))
    deploy(*write_artifacts(tmp_path / "v2", worse, gain=0.9), accepted)
    assert _uri(api_server).endswith("/v2/")


def test_how_the_manifests_roll_out_is_theirs_to_say(api_server, plan, tmp_path):
    """As overlays/gpu: a surge pod would wait for a second device."""
    manifest = scaled(NAMESPACE, 1)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    manifest["spec"]["predictor"]["deploymentStrategy"] = strategy
    manifest["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": "Standard"}
    assert api_server.apply(manifest).status_code == 200
    for version in ("v1", "v2"):
        deploy(*write_artifacts(tmp_path / version), replace(plan, version=version))
        predictor = api_server.service()["spec"]["predictor"]
        assert predictor["deploymentStrategy"] == strategy
        assert predictor["terminationGracePeriodSeconds"] == 45
        assert predictor["model"]["storageUri"].endswith(f"/{version}/")


def test_kubectl_is_told_when_it_would_take_the_version_back(api_server, plan, tmp_path):
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    manifest = scaled(NAMESPACE, 2)
    manifest["spec"]["predictor"]["model"]["storageUri"] = "s3://models/road/v0/"
    response = api_server.apply(manifest)
    assert response.status_code == 409
    assert "conflict with segmentor-deploy: .spec.predictor.model.storageUri" in response.text
    assert _uri(api_server).endswith("/v1/")
