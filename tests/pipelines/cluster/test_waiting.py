"""Waiting for a run: what is said meanwhile, and why a run failed."""

import io
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml
from submitting import SOURCE, environment, submitted

from pipelines.cluster import waiting
from pipelines.cluster.client import ServerError
from pipelines.cluster.step_pods import read_settings
from pipelines.cluster.submission import submit, wait_again
from pipelines.compilation import SEGMENTATION_YAML, SWEEP_YAML
from segmentor.errors import SegmentorError
from tests.emulators.kfp_pods import LAUNCHER, TEMPLATE, Workflow
from tests.waiting import wait_for

ERROR = "gate: 1 of 9 checks failed: iou 0.42 (required >= 0.5); nothing was published"
LOG = "\n".join(["2026-11-30 20:15:00 INFO gate REFUSED iou 0.42", f"error: {ERROR}", *LAUNCHER])
TOO_LARGE = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate",
        }
    ],
}


def _waiting(reason: str, message: str = "") -> dict:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "main", "state": state}]}


@pytest.fixture(params=[True, False], ids=["retried", "once"])
def workflow(request):
    """Make workflows with and without the controller's retryStrategy."""
    return lambda: Workflow(retries=request.param)


def test_a_line_for_each_step_that_ended_with_its_state_and_seconds(server, workflow):
    server[1].run_states = [
        {"state": "PENDING"},
        workflow().step("split", "RUNNING").look("RUNNING"),
        workflow().step("split", "SUCCEEDED").step("train", "RUNNING").look("RUNNING"),
        workflow()
        .step("split", "SUCCEEDED")
        .step("train", "SUCCEEDED", seconds=754)
        .look("SUCCEEDED"),
    ]
    result, said = submitted(server, wait=True)
    assert result.state == "SUCCEEDED"
    assert [line.split() for line in said.splitlines()[1:]] == [
        ["split", "succeeded", "12", "s"],
        ["train", "succeeded", "754", "s"],
    ]


def test_a_run_that_fails_ends_with_the_error_line_of_its_step(server, workflow):
    server[1].run_states = [
        workflow().step("export", "SUCCEEDED").step("deploy", "FAILED", log=LOG).look("FAILED")
    ]
    stream = io.StringIO()
    with pytest.raises(SegmentorError) as failure:
        submit(SOURCE, environment=environment(server[0]), stream=stream, wait=True)
    assert str(failure.value) == f"deploy: {ERROR}"
    lines = stream.getvalue().splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["export", "succeeded", "12", "s"],
        ["deploy", "failed", "12", "s"],
    ]
    assert lines[3].startswith(f"the run ended as FAILED: {server[0]}/#/runs/details/run_id-")


def test_the_error_is_that_of_the_last_attempt_of_a_pod_that_was_lost(server):
    run = Workflow().step("deploy", "FAILED", log=LOG, attempts=3)
    server[1].run_states = [run.look("FAILED")]
    with pytest.raises(SegmentorError, match=r"^deploy: gate: 1 of 9"):
        submitted(server, wait=True)


def test_steps_that_failed_side_by_side_each_have_their_own_error(server, workflow):
    run = workflow().step("evaluate", "FAILED", log="error: one").step("export", "FAILED")
    server[1].run_states = [run.look("FAILED")]
    with pytest.raises(SegmentorError) as failure:
        submitted(server, wait=True)
    assert str(failure.value).startswith("evaluate: one; export: failed; see kubectl logs")


def test_a_step_that_was_killed_for_its_memory_names_the_parameter(server, workflow):
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    status = {"phase": "Failed", "containerStatuses": [{"name": "main", "state": ended}]}
    server[1].run_states = [workflow().step("train", "FAILED", status=status).look("FAILED")]
    with pytest.raises(SegmentorError, match="train: out of memory .*; change parameter train_mem"):
        submitted(server, wait=True)


def test_a_step_without_an_error_line_is_quoted_without_the_launcher(server, workflow):
    log = "\n".join(["Traceback (most recent call last):", "KeyError: 'road'", *LAUNCHER])
    server[1].run_states = [workflow().step("train", "FAILED", log=log).look("FAILED")]
    with pytest.raises(SegmentorError, match=r"^train: KeyError: 'road'$"):
        submitted(server, wait=True)


@pytest.mark.parametrize("has_ui", [True, False], ids=["pods gone", "API alone"])
def test_where_no_log_can_be_read_the_error_has_the_kubectl_line(server, has_ui):
    server[1].has_ui = has_ui
    look = Workflow().step("deploy", "FAILED", log=LOG).look("FAILED")
    server[1].run_states = [{**look, "pods": {}}]
    with pytest.raises(SegmentorError) as failure:
        submitted(server, wait=True)
    run_id = server[1].runs[0]["run_id"]
    assert str(failure.value) == (
        "deploy: failed; see kubectl logs --namespace kubeflow --selector "
        f"pipeline/runid={run_id},app.kubernetes.io/component=deploy --container main --tail=30"
    )


def test_a_step_whose_driver_failed_is_named(server):
    server[1].run_states = [Workflow().failed_driver("train").look("FAILED")]
    with pytest.raises(SegmentorError, match="^train: failed; see kubectl logs"):
        submitted(server, wait=True)


def test_pods_are_looked_for_in_the_namespace_of_the_user(server):
    server[1].multi_user, server[1].pods_namespace = True, "team-a"
    server[1].run_states = [Workflow().step("deploy", "FAILED", log=LOG).look("FAILED")]
    with pytest.raises(SegmentorError, match=r"^deploy: gate: 1 of 9"):
        submitted(server, wait=True, namespace="team-a")


@pytest.mark.parametrize(
    ("step", "status", "events", "told"),
    [
        ("train", TOO_LARGE, [], "1 Insufficient cpu. .*; change parameter train_cpu"),
        ("split", TOO_LARGE, [], "1 Insufficient cpu. .*; no parameter decides this"),
        (
            "train",
            _waiting("ImagePullBackOff", 'Back-off pulling image "segmentor-trainer:0.1.0"'),
            [],
            "ImagePullBackOff: Back-off pulling image .*; change parameter trainer_image",
        ),
        (
            "convert-labels",
            _waiting("ContainerCreating"),
            [{"type": "Warning", "reason": "FailedMount", "message": "no such volume"}],
            "FailedMount: no such volume",
        ),
    ],
)
def test_a_pod_that_does_not_start_is_told_once_with_the_parameter_to_change(
    server, workflow, step, status, events, told
):
    late = workflow().step(step, "RUNNING", status=status, events=events).look("RUNNING")
    done = workflow().step(step, "SUCCEEDED").look("SUCCEEDED")
    server[1].run_states = [late, late, late, done]
    _, said = submitted(server, wait=True)
    lines = [line for line in said.splitlines() if "has not started" in line]
    assert len(lines) == 1
    assert lines[0].split()[0] == step
    assert re.search(told, lines[0])


def test_a_pod_that_starts_in_time_is_not_told(server, workflow):
    early = workflow().step("train", "RUNNING", status=_waiting("ContainerCreating"))
    server[1].run_states = [
        early.look("RUNNING"),
        workflow().step("train", "SUCCEEDED").look("SUCCEEDED"),
    ]
    _, said = submitted(server, wait=True)
    assert "has not started" not in said


def test_the_trainings_of_a_sweep_are_told_apart(server):
    def look(state, *trainings):
        run = Workflow()
        for word, log in trainings:
            run.step("train", word, log=log)
        return run.look(state)

    server[1].run_states = [
        look("RUNNING", ("RUNNING", ""), ("RUNNING", "")),
        look("RUNNING", ("SUCCEEDED", ""), ("RUNNING", "")),
        look("FAILED", ("SUCCEEDED", ""), ("FAILED", "error: no GPU")),
    ]
    stream = io.StringIO()
    where = environment(server[0])
    with pytest.raises(SegmentorError, match="^train: no GPU$"):
        submit(SOURCE, pipeline=SWEEP_YAML, environment=where, stream=stream, wait=True)
    assert [line.split()[:3] for line in stream.getvalue().splitlines()[1:3]] == [
        ["train", "succeeded", "12"],
        ["train", "2", "failed"],
    ]


def test_an_interrupt_while_waiting_says_that_the_run_goes_on(server):
    server[1].run_states = [{"state": "RUNNING"}]
    command = [
        *(sys.executable, "-m", "pipelines.cli", "submit", "--wait"),
        *("--endpoint", server[0], "--export", SOURCE["source"]),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert "submitted" in process.stderr.readline()
    # Once it looks at the run it is waiting.
    look = f"GET /apis/v2beta1/runs/{server[1].runs[0]['run_id']}"
    wait_for(lambda: look in server[1].requests, process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(100) == 130
    run_id = server[1].runs[0]["run_id"]
    assert rest.splitlines() == [
        f"no longer waiting; the run continues: {server[0]}/#/runs/details/{run_id}",
        f"wait again with: segmentor wait {run_id} --endpoint {server[0]}",
    ]


def test_waiting_outlives_an_interruption_and_says_so_once(server, monkeypatch):
    monkeypatch.setattr(waiting, "SECONDS_AWAY", 300.0)
    server[1].answers_to_lose = 20
    result, said = submitted(server, wait=True)
    assert result.state == "SUCCEEDED"
    assert said.count("no answer; asking for 5 minutes, the run continues") == 1


def test_an_endpoint_that_stays_away_ends_with_the_command_that_waits_again(server, monkeypatch):
    monkeypatch.setattr(waiting, "SECONDS_AWAY", 0.3)
    server[1].answers_to_lose = 1_000_000
    with pytest.raises(ServerError, match="refused 503 .restarting") as failure:
        submitted(server, wait=True)
    run_id = server[1].runs[0]["run_id"]
    assert str(failure.value).endswith(f"wait again with: segmentor wait {run_id}")
    server[1].answers_to_lose = 0
    where = environment(server[0])
    assert wait_again(run_id, environment=where, stream=io.StringIO()) == "SUCCEEDED"


def test_a_run_that_is_not_there_is_an_error_at_once(server):
    with pytest.raises(ServerError, match="refused 404"):
        wait_again("none", environment=environment(server[0]), stream=io.StringIO())


@pytest.mark.parametrize("path", [SEGMENTATION_YAML, SWEEP_YAML], ids=lambda path: path.stem)
def test_the_settings_of_a_step_are_those_of_the_compiled_file(path):
    settings = read_settings(path)
    platform = list(yaml.safe_load_all(path.read_text()))[1]["platforms"]["kubernetes"]
    for name, item in settings.items():
        labels = platform["deploymentSpec"]["executors"][f"exec-{name}"]["podMetadata"]["labels"]
        assert labels["app.kubernetes.io/component"] == name
        assert item.template == TEMPLATE
        assert item.image in ("data_image", "trainer_image")
    train = settings["train"]
    assert (train.cpu, train.memory, train.accelerators) == (
        "train_cpu",
        "train_memory",
        "train_accelerators",
    )
    assert (train.node_selector, train.tolerations) == ("train_node_selector", "train_tolerations")
