"""Runs that must fail, and say why; what is served stays, and no request is lost."""

import json

import pytest

from tests.cluster.installation import MODEL, NAMESPACE, wait_for
from tests.cluster.test_1_first_run import require_twice_alike

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]
MISSING = "segmentor-predictor:no-such-tag"


@pytest.mark.covers("gate")
def test_a_model_below_the_gate_is_not_published(deployed):
    before = deployed.model()
    result = deployed.submit(min_iou="0.9999")
    assert result.returncode == 3
    assert "iou 0." in result.stderr + result.stdout
    assert "(required >= 0.9999)" in result.stderr + result.stdout
    assert deployed.model() == before


@pytest.mark.covers("rollback")
def test_an_image_that_does_not_exist_is_named_and_rolled_back(deployed, traffic):
    before = deployed.model()
    result = deployed.submit(predictor_image=MISSING)
    assert result.returncode == 3
    assert f"the image {MISSING} cannot be pulled" in result.stderr + result.stdout
    assert deployed.model() == before


@pytest.mark.covers("apply_twice")
def test_after_a_rollback_the_overlay_changes_nothing(deployed):
    require_twice_alike(deployed)


@pytest.mark.covers("terminated_run")
def test_a_terminated_run_is_rolled_back(deployed, traffic):
    before = deployed.model()
    assert deployed.submit(wait=False, predictor_image=MISSING).returncode == 0
    run = deployed.newest_run()["run_id"]
    wait_for("the rollout", lambda: deployed.model()["image"] == MISSING, 1800)
    deployed.api("POST", f"runs/{run}:terminate")
    wait_for("the rollback", lambda: deployed.model() == before, 60)


@pytest.mark.covers("rolebinding_away")
def test_a_missing_right_is_found_by_the_first_step(deployed):
    flags = ("--namespace", NAMESPACE)
    deployed.kubectl("delete", "rolebinding", "segmentor-deployer", *flags)
    try:
        result = deployed.submit()
    finally:
        deployed.apply_overlay()
    assert result.returncode == 3
    assert "check_deployment" in result.stdout.replace("-", "_")
    assert "bind the Role segmentor-deployer" in result.stderr + result.stdout


@pytest.mark.covers("network_policy")
def test_other_namespaces_do_not_reach_the_predictor(deployed):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "segmentor-stranger", "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "stranger",
                    "image": deployed.image("data"),
                    "command": [
                        "python",
                        "-c",
                        "import urllib.request; urllib.request.urlopen("
                        f"'http://{MODEL}-predictor.{NAMESPACE}.svc/v2/health/live', timeout=10)",
                    ],
                }
            ],
        },
    }
    deployed.kubectl("apply", "--server-side", "--filename=-", text=json.dumps(pod))
    try:

        def ended() -> str | None:
            found = deployed.get("pod", "segmentor-stranger", namespace="default")
            phase = str(found["status"].get("phase"))
            return phase if phase in ("Succeeded", "Failed") else None

        if wait_for("a stranger's request", ended, 180) == "Succeeded":
            pytest.skip("this cluster does not enforce NetworkPolicies")
    finally:
        flags = ("--namespace", "default", "--ignore-not-found")
        deployed.kubectl("delete", "pod", "segmentor-stranger", *flags)
