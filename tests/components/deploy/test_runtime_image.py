"""The ServingRuntime's image: put in, taken back, and nothing else of an overlay touched."""

import contextlib
import threading
from dataclasses import replace

import pytest

from components.deploy.cluster import Cluster
from components.deploy.deployment import deploy
from components.deploy.inference_service import render_serving_runtime
from components.deploy.runtime_image import plan_image_change
from segmentor.errors import DeployError
from tests.components.deploy.conftest import NAMESPACE
from tests.components.deploy.deploy_builders import write_artifacts
from tests.components.deploy.fake_pods import MISSING_IMAGE

RUNTIME = f"/apis/serving.kserve.io/v1alpha1/namespaces/{NAMESPACE}/servingruntimes"


def _live(server) -> dict:
    return server.request("GET", f"{RUNTIME}/onnx-segmentation").json()


def _overlay() -> dict:
    """As overlays/gpu has it: a provider, a device, and more time to start."""
    runtime = render_serving_runtime(NAMESPACE, "registry.example/segmentor-predictor:gpu")
    (container,) = runtime["spec"]["containers"]
    container["args"].append("--provider=CPUExecutionProvider")
    container["resources"]["limits"]["nvidia.com/gpu"] = "1"
    container["startupProbe"]["failureThreshold"] = 300
    runtime["spec"]["nodeSelector"] = {"gpu": "true"}
    return runtime


def test_an_image_that_fails_is_taken_back_with_its_version(api_server, plan, tmp_path):
    """Left there, the rollback's own pods could not start."""
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    before = _live(api_server)["spec"]
    rollout = replace(plan.rollout, predictor_image=MISSING_IMAGE)
    with pytest.raises(DeployError) as failure:
        deploy(
            *write_artifacts(tmp_path / "v2", gain=0.9),
            replace(plan, version="v2", rollout=rollout),
        )
    assert "ImagePullBackOff (Back-off pulling image" in str(failure.value)
    assert "road/v1/, which is ready" in str(failure.value)
    assert _live(api_server)["spec"] == before


def test_a_served_model_with_another_image_is_waited_for_until_its_pods_have_it(
    api_server, plan, tmp_path
):
    """Its old pods answer for the same model all the while."""
    deploy(*write_artifacts(tmp_path / "v1"), plan)
    api_server.notice_runtimes(False)
    later = threading.Timer(1.0, api_server.notice_runtimes, [True])
    later.start()
    rollout = replace(plan.rollout, predictor_image="segmentor-predictor:0.2.0")
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, rollout=rollout))
    assert api_server.deployed_image() == "segmentor-predictor:0.2.0"
    later.join()


def test_a_manifest_that_is_refused_takes_the_image_back_too(api_server, plan, tmp_path):
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    rollout = replace(plan.rollout, predictor_image="segmentor-predictor:0.2.0")

    class Refusing(Cluster):
        def apply(self, manifest):
            if manifest["kind"] == "InferenceService":
                raise DeployError("road", "HTTP 400 from the API server", remedy="ask it")
            return super().apply(manifest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.deploy.deployment.Cluster", Refusing)
        with pytest.raises(DeployError, match="ask it; the InferenceService is as it was before"):
            deploy(
                *write_artifacts(tmp_path / "v2", gain=0.9),
                replace(plan, version="v2", rollout=rollout),
            )
    assert api_server.runtime_image() == "segmentor-predictor:0.1.0"


@pytest.mark.parametrize("fault", ["", "noise"])
def test_of_an_overlays_runtime_the_image_alone_is_changed(api_server, plan, tmp_path, fault):
    overlay = _overlay()
    assert api_server.apply(overlay).status_code == 200
    before = _live(api_server)["spec"]
    with pytest.raises(DeployError) if fault else contextlib.nullcontext():
        deploy(*write_artifacts(tmp_path / "v1", fault=fault, gain=0.9), plan)
    after = _live(api_server)["spec"]
    if not fault:
        (container,) = before["containers"]
        container["image"] = "segmentor-predictor:0.1.0"
    assert after == before


def test_beside_the_containers_everything_stays_the_overlays_to_change(api_server):
    overlay = _overlay()
    api_server.apply(overlay)
    cluster = Cluster()
    plan_image_change(cluster, NAMESPACE, "segmentor-predictor:0.2.0").make(cluster)
    overlay["spec"]["nodeSelector"] = {"gpu": "newer"}
    assert "conflict with segmentor-deploy: .spec.containers" in api_server.apply(overlay).text
    overlay["spec"]["containers"][0]["image"] = "segmentor-predictor:0.2.0"
    assert api_server.apply(overlay).status_code == 200
    assert _live(api_server)["spec"]["nodeSelector"] == {"gpu": "newer"}


def test_an_image_that_is_there_already_is_not_taken_from_its_owner(api_server):
    overlay = _overlay()
    api_server.apply(overlay)
    cluster = Cluster()
    plan_image_change(cluster, NAMESPACE, overlay["spec"]["containers"][0]["image"]).make(cluster)
    assert [entry["manager"] for entry in _live(api_server)["metadata"]["managedFields"]] == [
        "kubectl"
    ]


def test_a_runtime_of_the_deploy_step_alone_is_rendered_anew(api_server):
    """A newer release may give its predictor other arguments."""
    older = render_serving_runtime(NAMESPACE, "segmentor-predictor:old")
    older["spec"]["containers"][0]["args"] = ["--of-an-older-release"]
    assert api_server.apply(older, "segmentor-deploy").status_code == 200
    cluster = Cluster()
    change = plan_image_change(cluster, NAMESPACE, "segmentor-predictor:new")
    change.make(cluster)
    assert (
        _live(api_server)["spec"]
        == render_serving_runtime(NAMESPACE, "segmentor-predictor:new")["spec"]
    )
    change.undo(cluster)
    assert _live(api_server)["spec"] == older["spec"]


def test_an_image_that_somebody_changed_meanwhile_is_not_taken_back(api_server):
    api_server.apply(_overlay())
    cluster = Cluster()
    change = plan_image_change(cluster, NAMESPACE, "segmentor-predictor:0.2.0")
    change.make(cluster)
    plan_image_change(cluster, NAMESPACE, "segmentor-predictor:0.3.0").make(cluster)
    change.undo(cluster)
    assert api_server.runtime_image() == "segmentor-predictor:0.3.0"
