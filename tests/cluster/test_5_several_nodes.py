"""Training on two nodes by a real Kubeflow Trainer, undisturbed and disturbed: equal weights."""

import json
import time
from collections.abc import Callable

import pytest

from tests.cluster.installation import REPOSITORY, Installation, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]
SMALL = {"train_nodes": "2", "train_cpu": "250m", "train_memory": "1Gi", "max_iou_drop": "1"}
JOBS = "trainjobs.trainer.kubeflow.org"
RANK = "batch.kubernetes.io/job-completion-index"


@pytest.fixture(scope="module")
def trainer(deployed: Installation) -> Installation:
    """The cluster with manifests/training; a cluster without Kubeflow Trainer is skipped."""
    if not deployed.get("crd", JOBS):
        pytest.skip("this cluster has no Kubeflow Trainer")
    where = ("--namespace", deployed.kfp_namespace)
    folder = str(REPOSITORY / "manifests/training")
    deployed.kubectl("apply", "--server-side", *where, "--kustomize", folder)
    return deployed


def _start(cluster: Installation, *overrides: str, **parameters: str) -> str:
    salt = f"{time.time():.0f}"
    given = {**SMALL, "cache_salt": salt, "version": f"nodes-{salt}", **parameters}
    result = cluster.submit(*overrides, wait=False, **given)
    assert result.returncode == 0, result.stderr
    return str(cluster.newest_run()["run_id"])


def _jobs(cluster: Installation) -> list[dict]:
    return list(cluster.get(JOBS, namespace=cluster.kfp_namespace).get("items", []))


def _pod(cluster: Installation, rank: int) -> str:
    """Return the pod of a rank once it runs."""

    def running() -> str | None:
        for job in _jobs(cluster):
            name = job["metadata"]["name"]
            selector = f"jobset.sigs.k8s.io/jobset-name={name},{RANK}={rank}"
            for pod in cluster.pods(selector, cluster.kfp_namespace):
                if pod["status"].get("phase") == "Running":
                    return str(pod["metadata"]["name"])
        return None

    return wait_for(f"rank {rank}", running, 1800)


def _epoch(cluster: Installation) -> None:
    """Wait until the first rank has trained an epoch."""
    pod, where = _pod(cluster, 0), ("--namespace", cluster.kfp_namespace)
    wait_for("an epoch", lambda: "epoch=1/" in cluster.kubectl("logs", pod, *where), 900)


def _weights(cluster: Installation, run: str) -> str:
    """Return the digest of the checkpoint of a run that must succeed; nothing of it is left."""
    assert cluster.wait_for_run(run)["state"] == "SUCCEEDED"
    assert _jobs(cluster) == []
    annotations = cluster.service()["metadata"]["annotations"]
    return str(annotations["segmentor.io/checkpoint-digest"])


def _delete_pod(cluster: Installation, rank: int) -> None:
    where = ("--namespace", cluster.kfp_namespace)
    cluster.kubectl("delete", "pod", _pod(cluster, rank), *where)


def _kill(cluster: Installation, rank: int) -> None:
    where = ("--namespace", cluster.kfp_namespace)
    script = "import os, signal; os.kill(1, signal.SIGKILL)"
    command = ("exec", _pod(cluster, rank), *where, "--", "python", "-c", script)
    cluster.kubectl(*command, check=False)


def _evict(cluster: Installation, rank: int) -> None:
    pod, where = _pod(cluster, rank), cluster.kfp_namespace
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": where},
    }
    path = f"/api/v1/namespaces/{where}/pods/{pod}/eviction"
    cluster.kubectl("create", "--raw", path, "--filename=-", text=json.dumps(eviction))


def _suspend(cluster: Installation, _rank: int) -> None:
    """As Kueue does; for longer than a look at the job takes."""
    name, where = _jobs(cluster)[0]["metadata"]["name"], ("--namespace", cluster.kfp_namespace)
    for value in ("true", "false"):
        change = f'{{"spec":{{"suspend":{value}}}}}'
        cluster.kubectl("patch", JOBS, name, *where, "--type=merge", f"--patch={change}")
        time.sleep(60)


def _delete_launcher(cluster: Installation, _rank: int) -> None:
    run = str(cluster.newest_run()["run_id"])
    where = ("--namespace", cluster.kfp_namespace)
    cluster.kubectl("delete", "pod", cluster.running_step(run, "train"), *where)


@pytest.fixture(scope="module")
def undisturbed(trainer: Installation) -> str:
    return _weights(trainer, _start(trainer))


@pytest.mark.covers("several_nodes")
@pytest.mark.parametrize(
    ("disturb", "rank"),
    [(_delete_pod, 1), (_delete_pod, 0), (_kill, 1), (_evict, 1), (_suspend, 0),
     (_delete_launcher, 0)],
)  # fmt: skip
def test_a_disturbed_training_ends_in_the_same_weights(
    trainer: Installation,
    undisturbed: str,
    disturb: Callable[[Installation, int], None],
    rank: int,
):
    run = _start(trainer)
    _epoch(trainer)
    disturb(trainer, rank)
    assert _weights(trainer, run) == undisturbed


@pytest.mark.covers("several_nodes_terminated")
def test_a_terminated_run_leaves_no_pod(trainer: Installation):
    run = _start(trainer)
    _epoch(trainer)
    trainer.api("POST", f"runs/{run}:terminate")
    selector = "jobset.sigs.k8s.io/jobset-name"
    wait_for("no pod", lambda: not trainer.pods(selector, trainer.kfp_namespace), 120)
    assert _jobs(trainer) == []


@pytest.mark.covers("several_nodes_refused")
def test_nodes_that_do_not_start_are_named(trainer: Installation):
    """After the half hour that the step gives them."""
    given = {**SMALL, "cache_salt": f"{time.time():.0f}", "train_cpu": "500"}
    result = trainer.submit(**given)
    assert result.returncode == 3
    assert "no node has room for the pod" in result.stdout + result.stderr
    assert _jobs(trainer) == []
