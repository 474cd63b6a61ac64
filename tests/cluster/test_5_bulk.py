"""Prediction in bulk by an Indexed Job: pods are killed, each image has one line and one mask."""

import json
import time

import pytest

from segmentor.object_uri import ObjectUri
from tests.cluster.installation import REPOSITORY, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]
IMAGES = 600
PODS = "app.kubernetes.io/component=predict"


@pytest.mark.covers("predict_batch")
def test_a_bucket_is_predicted_by_pods_that_are_killed_meanwhile(deployed, photograph):
    namespace = deployed.kfp_namespace
    rights = ("--namespace", namespace, "--kustomize", str(REPOSITORY / "manifests/batch"))
    deployed.kubectl("apply", "--server-side", *rights)
    with deployed.store() as store:
        source = ObjectUri.parse("s3://datasets/bulk")
        for number in range(IMAGES):
            store.write(source.child(f"{number:04d}.jpg"), photograph)
        store.write(source.child("broken.jpg"), b"no image")
    output = ObjectUri.parse(f"s3://datasets/bulk-predictions-{time.time_ns()}")
    run = deployed.submit_bulk(
        batch_images=str(source),
        published_model=deployed.model()["storageUri"],
        predictions=str(output),
        predict_workers="2",
        predict_cpu="200m",
        predict_memory="1Gi",
    )
    for _ in range(3):
        pods = wait_for("a pod that predicts", lambda: _running(deployed, namespace))
        kill = ("--namespace", namespace, "--force", "--grace-period=0")
        deployed.kubectl("delete", "pod", pods[0], *kill, check=False)
        time.sleep(10)
    said, _ = run.communicate(timeout=3600)
    assert run.returncode == 0, said
    assert deployed.get("jobs", "--selector", PODS, namespace=namespace)["items"] == []
    with deployed.store() as store:
        text = store.read(output.child("predictions.jsonl")).decode()
        masks = {uri.key for uri in store.list_keys(output.child("masks"))}
    lines = [json.loads(line) for line in text.splitlines()]
    assert len({line["image"] for line in lines}) == len(lines) == IMAGES + 1
    named = [output.child(line["mask"]).key for line in lines if "mask" in line]
    assert len(named) == IMAGES
    assert set(named) == masks
    assert [line["image"] for line in lines if "error" in line] == [str(source.child("broken.jpg"))]
    served = deployed.service()["metadata"]["annotations"]["segmentor.io/model-digest"]
    assert {line["model_digest"] for line in lines} == {served}


def _running(deployed, namespace):
    pods = deployed.pods(PODS, namespace)
    return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]
