"""Another version, another source, a stricter namespace: under traffic, nothing is lost."""

import json
import zipfile

import pytest

from tests.cluster.installation import MODEL, NAMESPACE, wait_for
from tests.cluster.test_1_first_run import PREDICTOR_PODS, require_twice_alike

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]
TRAIN_SET = "segmentor.io/train-dataset-digest"


@pytest.mark.covers("second_version")
def test_a_second_version_takes_over_without_a_lost_request(deployed, traffic):
    before = deployed.model()
    result = deployed.submit(
        "processing=road", "training=cpu_fast", "training.epochs=14", max_iou_drop="1"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert deployed.model()["storageUri"] != before["storageUri"]
    assert len(traffic.answered()) == 2


@pytest.mark.covers("source_replaced")
def test_a_source_that_is_replaced_under_its_name_is_converted_again(deployed, export, tmp_path):
    before = deployed.service()["metadata"]["annotations"][TRAIN_SET]
    smaller = tmp_path / "smaller.zip"
    with zipfile.ZipFile(export) as whole, zipfile.ZipFile(smaller, "w") as part:
        left_out = {name for name in whole.namelist() if "_00000" in name and name[-5] in "05"}
        for name in whole.namelist():
            if name not in left_out:
                part.writestr(name, whole.read(name))
    deployed.upload(smaller)
    result = deployed.submit(max_iou_drop="1")
    deployed.upload(export)
    assert result.returncode == 0, result.stdout + result.stderr
    assert deployed.service()["metadata"]["annotations"][TRAIN_SET] != before


@pytest.mark.covers("restricted")
def test_the_restricted_standard_is_enforced(deployed, traffic):
    """By the two commands of docs/cluster/restricted.md."""
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    storage = ("clusterstoragecontainer", "default", "--type", "merge", "--patch")
    change = {"spec": {"container": {"securityContext": context}}}
    deployed.kubectl("patch", *storage, json.dumps(change))
    try:
        label = "pod-security.kubernetes.io/enforce=restricted"
        deployed.kubectl("label", "namespace", NAMESPACE, label, "--overwrite")
        old = {pod["metadata"]["name"] for pod in deployed.pods(PREDICTOR_PODS)}
        deployment = f"deployment/{MODEL}-predictor"
        for action in ("restart", "status"):
            deployed.kubectl("rollout", action, deployment, "--namespace", NAMESPACE)

        def new_pods() -> bool:
            names = {pod["metadata"]["name"] for pod in deployed.pods(PREDICTOR_PODS)}
            return bool(names) and not names & old

        wait_for("restricted pods", new_pods)
        require_twice_alike(deployed)
    finally:
        change = {"spec": {"container": {"securityContext": None}}}
        deployed.kubectl("patch", *storage, json.dumps(change))
