"""A training on two nodes of the fake cluster, whose outputs a test puts into the store."""

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from components.train.__main__ import build_parser
from components.train.configuration.preparation import prepare
from components.train.trainer_job.exchange import put_outputs
from components.train.trainer_job.launcher import train_on_nodes
from components.train.trainer_job.patience import Patience
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from tests.components.conftest import NAMESPACE, TOKEN, ApiServer, write_kubeconfig

JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
# Processes start slowly on a busy machine; the fake cluster's times are a tenth of the real ones.
PATIENCE = Patience(start=100, hopeless=100, stall=100, gone=100, ending=25, poll=0.1)
EPOCHS = ("training.epochs=4", "training.precision=fp32")


@dataclass
class Nodes:
    """The step on two nodes: its arguments, the cluster, and the outputs that are in the store."""

    server: ApiServer
    folder: Path
    arguments: list[str]
    store: ObjectStore
    launchers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def training(self) -> ObjectUri:
        """Where the training is in the store."""
        parsed = build_parser().parse_args(self.arguments)
        job = prepare(parsed)
        return type(job)(**{**vars(job), "processes": parsed.train_nodes}).folder

    def train(self, patience: Patience = PATIENCE):
        """Run the step in this process."""
        arguments = build_parser().parse_args(self.arguments)
        return train_on_nodes(arguments, prepare(arguments), patience)

    def start(self, pod: str = "") -> subprocess.Popen[str]:
        """Start the step as a process, as KFP starts it in a pod with this name."""
        own = {"KFP_POD_NAME": pod, "KFP_POD_UID": f"uid-of-{pod}"} if pod else {}
        if pod:
            manifest = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod, "namespace": NAMESPACE, "uid": f"uid-of-{pod}"},
                "spec": {"containers": [{"name": "main"}]},
            }
            assert self.server.apply(manifest).status_code == 200
        process = subprocess.Popen(
            [sys.executable, "-m", "components.train", *self.arguments],
            env={**os.environ, **own},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.launchers.append(process)
        return process

    def put_outputs(self, checkpoint: Path) -> None:
        """Put into the store what the first node would."""
        outputs = {
            "checkpoint": checkpoint,
            "logs": checkpoint.parent / "logs",
            "metrics": checkpoint.parent / "metrics.json",
            "training_report": checkpoint.parent / "report.html",
        }
        self.store.ensure_bucket(self.training.bucket)
        put_outputs(self.store, self.training, outputs, {"metrics": {"val_iou": 0.5}})

    def jobs(self) -> list[dict]:
        return self.server.request("GET", JOBS).json()["items"]

    def pods(self) -> list[dict]:
        """Return the pods of the jobs."""
        items = self.server.request("GET", PODS).json()["items"]
        return [pod for pod in items if pod["metadata"].get("labels")]

    def delete_pod(self, name: str) -> None:
        assert self.server.request("DELETE", f"{PODS}/{name}").status_code == 200

    def overlaps(self) -> int:
        """Return how often a job was made while pods of its predecessor were there."""
        return self.server.request("GET", "/trainer").json()["overlaps"]


@pytest.fixture
def start_cluster(api_process, store, tmp_path, monkeypatch):
    """Return an empty fake cluster with manifests/training applied; KUBECONFIG points at it."""

    def start(rules: list[dict], with_runtime: bool = True) -> ApiServer:
        assert api_process.request("POST", "/role", data=json.dumps(rules)).status_code == 200
        if with_runtime:
            assert api_process.apply(training_manifest("training_runtime.yaml")).status_code == 200
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, api_process.url, TOKEN)))
        return api_process

    return start


@pytest.fixture
def nodes(start_cluster, road_data, flags, store, tmp_path, monkeypatch, repository):
    monkeypatch.setenv("PYTHONPATH", str(repository))
    server = start_cluster(training_manifest("rbac.yaml")["rules"])
    options = ["--train-nodes", "2", "--destination", f"s3://models-{uuid.uuid4().hex[:12]}"]
    arguments = [*flags(road_data, tmp_path / "step"), *options, *EPOCHS]
    running = Nodes(server, tmp_path / "step", arguments, store)
    yield running
    for process in running.launchers:
        process.kill()
        process.wait()
        process.stderr.close()
    server.script()


def training_manifest(name: str) -> dict:
    """Return the first document of a file of manifests/training."""
    folder = Path(__file__).parents[4] / "manifests/training"
    return next(yaml.safe_load_all((folder / name).read_text()))
