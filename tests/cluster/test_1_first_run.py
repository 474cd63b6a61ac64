"""From an empty namespace to a prediction, the overlay applied again at each stage."""

import pytest
import requests

from components.deploy.kserve.golden import DIGEST_HEADER
from tests.cluster.installation import MODEL, Installation, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]
PREDICTOR_PODS = f"serving.kserve.io/inferenceservice={MODEL}"


def require_twice_alike(installation: Installation) -> None:
    """Apply the overlay twice: no conflict, no new version, the same model."""
    before = installation.model()

    def alike() -> bool:
        # A controller may write a status in between; not for ever.
        return installation.apply_overlay() == installation.apply_overlay()

    wait_for("two applies alike", alike, 60)
    assert installation.model() == before


@pytest.mark.covers("apply_twice")
def test_before_the_first_deployment_the_overlay_starts_no_pod(prepared):
    require_twice_alike(prepared)

    def reason() -> str | None:
        status = prepared.service().get("status", {}).get("modelStatus", {})
        return status.get("lastFailureInfo", {}).get("reason")

    assert wait_for("KServe", reason) == "NoSupportingRuntime"
    assert prepared.pods(PREDICTOR_PODS) == []


@pytest.mark.covers("submit")
def test_a_submitted_run_deploys(deployed):
    assert deployed.model()["storageUri"].startswith(f"s3://models/{MODEL}/")
    (run,) = deployed.api("GET", "runs")["runs"]
    assert run["state"] == "SUCCEEDED"


@pytest.mark.covers("predict")
def test_the_model_answers_with_a_mask(deployed, photograph):
    annotations = deployed.service()["metadata"]["annotations"]
    with deployed.forwarded(f"{MODEL}-predictor", 80) as address:
        reply = requests.post(
            f"{address}/v1/models/{MODEL}:predict",
            data=photograph,
            headers={"Content-Type": "image/jpeg"},
            timeout=60,
        )
    assert reply.status_code == 200
    assert reply.content.startswith(b"\x89PNG")
    assert reply.headers[DIGEST_HEADER] == annotations["segmentor.io/model-digest"]


@pytest.mark.covers("apply_twice")
def test_after_a_deployment_the_overlay_changes_nothing(deployed):
    require_twice_alike(deployed)


@pytest.mark.covers("clone")
def test_a_run_that_is_cloned_in_the_ui_is_cached(deployed):
    """With the request that the UI sends."""
    run = deployed.api("GET", "runs")["runs"][-1]
    clone = {
        key: run[key]
        for key in ("pipeline_version_reference", "runtime_config", "service_account")
        if run.get(key)
    }
    started = deployed.api(
        "POST",
        "runs",
        params={"experiment_id": run["experiment_id"]},
        json={**clone, "display_name": f"Clone of {run['display_name']}", "description": ""},
    )
    ended = deployed.wait_for_run(started["run_id"])
    assert ended["state"] == "SUCCEEDED"
    run_id = started["run_id"]
    trained = f"pipeline/runid={run_id},app.kubernetes.io/component=train"
    assert deployed.pods(trained, deployed.kfp_namespace) == []
