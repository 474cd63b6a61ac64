"""Pods that are deleted, a store and an API server that are away: runs that must succeed anyway."""

import json
import os
import subprocess
import threading
import time

import pytest

from tests.cluster.installation import NAMESPACE, Installation

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]


def _start(installation: Installation, **parameters: str) -> str:
    salt = f"{time.time():.0f}"
    result = installation.submit(
        wait=False,
        cache_salt=salt,
        version=f"at-{salt}",
        max_iou_drop="1",
        **parameters,
    )
    assert result.returncode == 0, result.stderr
    return str(installation.newest_run()["run_id"])


@pytest.mark.covers("deleted_pods")
def test_train_and_deploy_are_started_again_when_their_pods_are_deleted(deployed, traffic):
    run = _start(deployed)
    for step in ("train", "deploy"):
        pod = deployed.running_step(run, step)
        time.sleep(10)
        deployed.kubectl("delete", "pod", pod, "--namespace", deployed.kfp_namespace, check=False)
    assert deployed.wait_for_run(run)["state"] == "SUCCEEDED"


@pytest.mark.covers("store_away")
def test_an_object_store_that_is_away_for_a_minute_fails_no_step(deployed):
    run = _start(deployed)
    deployed.running_step(run, "convert-labels")
    _point_store_at(deployed, "nowhere")
    time.sleep(60)
    _point_store_at(deployed, "object-store")
    assert deployed.wait_for_run(run)["state"] == "SUCCEEDED"


def _point_store_at(installation: Installation, name: str) -> None:
    """The store's own pod cannot be stopped: its data go with it."""
    change = {"spec": {"selector": {"app.kubernetes.io/name": name}}}
    words = ("service", "object-store", "--namespace", NAMESPACE, "--patch", json.dumps(change))
    installation.kubectl("patch", *words)


@pytest.mark.covers("api_server_away")
def test_an_api_server_that_is_away_for_25_seconds_does_not_fail_deploy(deployed):
    command = os.environ.get("SEGMENTOR_TEST_API_SERVER")
    if not command:
        pytest.skip("SEGMENTOR_TEST_API_SERVER names no command that stops the API server for 25 s")
    run = _start(deployed)
    deployed.running_step(run, "deploy")
    subprocess.run(command, shell=True, check=True, timeout=300)
    assert deployed.wait_for_run(run)["state"] == "SUCCEEDED"


@pytest.mark.covers("two_at_once")
def test_of_two_deployments_at_once_whoever_is_not_served_says_so(deployed):
    results: dict[str, subprocess.CompletedProcess[str]] = {}
    threads = [
        threading.Thread(
            target=lambda name=name: results.update(
                {name: deployed.submit(version=name, max_iou_drop="1")}
            )
        )
        for name in ("va", "vb")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served = deployed.service()["metadata"]["annotations"]["segmentor.io/version"]
    assert results[served].returncode == 0
    other = results["va" if served == "vb" else "vb"]
    # Either it was served before, or it was overtaken and names the other version.
    assert other.returncode == 0 or f"(version {served}) was deployed meanwhile" in (
        other.stdout + other.stderr
    )
