"""The job's own command in several processes: gloo, a rank that is killed, equal weights."""

import json
import logging
import os
import subprocess
import sys

import pytest

from components.train.trainer_job.node import describe_process
from components.train.trainer_job.patience import Patience
from segmentor.digests import digest_file
from segmentor.nn.checkpoint import checkpoint_digest
from segmentor.object_uri import ObjectUri
from segmentor.training_mirror import remove_finished
from tests.components.train.trainer_job.conftest import PATIENCE

SHORT = ("training.batch_size=2", "training.mirror_minutes=0")
PET = {
    "PET_NNODES": "3",
    "PET_NODE_RANK": "2",
    "PET_NPROC_PER_NODE": "1",
    "PET_MASTER_ADDR": "a-node-0-0.a",
    "PET_MASTER_PORT": "29500",
}


def test_a_node_is_the_rank_that_trainer_says(monkeypatch):
    monkeypatch.setattr(os, "environ", {**PET})
    describe_process()
    assert {name: os.environ[name] for name in os.environ if name not in PET} == {
        "RANK": "2",
        "WORLD_SIZE": "3",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "a-node-0-0.a",
        "MASTER_PORT": "29500",
    }


def test_under_torchrun_a_process_is_the_rank_that_torchrun_says(monkeypatch):
    monkeypatch.setattr(os, "environ", {**PET, "RANK": "5", "WORLD_SIZE": "6", "LOCAL_RANK": "1"})
    describe_process()
    assert os.environ["RANK"] == "5"


def test_a_known_error_of_a_node_is_its_exit_code_and_its_last_line(nodes, repository, tmp_path):
    """The pod's status then has the cause, and the runtime starts nothing again."""
    nodes.store.ensure_bucket(nodes.training.bucket)
    for name in ("train", "val"):
        nodes.store.write(nodes.training.child(f"inputs/{name}/manifest.json"), b"{}")
    command = ["-m", "components.train.trainer_job.node", "--training", str(nodes.training), "--"]
    done = subprocess.run(
        [sys.executable, *command, "training.epochs=-1"],
        env={**os.environ, **PET, "TMPDIR": str(tmp_path)},
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    last = done.stderr.strip().splitlines()[-1]
    assert last == "error: training.epochs: -1, expected at least 1"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [2, 3])
def test_a_set_that_lost_a_rank_ends_in_the_weights_of_an_undisturbed_one(
    nodes, store_environment, caplog, count
):
    """Each pod is a process with Trainer's variables; the cluster around them is the fake one."""
    caplog.set_level(logging.INFO)
    nodes.arguments[nodes.arguments.index("--train-nodes") + 1] = str(count)
    patience = Patience(**{**vars(PATIENCE), "start": 600, "stall": 600})
    digests = []
    for salt, ranks in (
        ("undisturbed", [{"run": True}]),
        ("killed", [{"run": True}, {"run": True, "kill_at": "epoch=2/"}, {"run": True}]),
    ):
        nodes.server.script(attempts=[ranks, [{"run": True}]], secret=store_environment)
        arguments = list(nodes.arguments)
        nodes.arguments += [*SHORT, "--cache-salt", salt]
        metadata = nodes.train(patience)
        checkpoint = nodes.folder / "checkpoint"
        contract = json.loads((checkpoint / "contract.json").read_text())
        assert metadata["checkpoint"]["epochs"] == contract["provenance"]["epochs"] == 4
        digests.append(digest_file(checkpoint / "weights.safetensors"))
        _require_removed_by_deploy(nodes, checkpoint_digest(checkpoint))
        nodes.arguments[:] = arguments
    assert digests[0] == digests[1]
    assert caplog.text.count("resume kind=interrupted epoch=") == 1
    assert "started again attempt=2 cause='rank 1 ended with exit code 137" in caplog.text
    assert nodes.jobs() == []
    assert nodes.pods() == []


def _require_removed_by_deploy(nodes, digest: str) -> None:
    """All of the training is in the store until deploy removes it: state, inputs and outputs."""
    training = nodes.training
    left = {uri.key.removeprefix(f"{training.key}/") for uri in nodes.store.list_keys(training)}
    assert {"training_state.pt", "finished.json", "outputs/outputs.json"} <= left
    assert "inputs/train/manifest.json" in left
    destination = str(ObjectUri(training.bucket, ""))
    remove_finished(nodes.store, destination, digest)
    assert list(nodes.store.list_keys(training)) == []
