"""A training on several nodes: how it succeeds, fails, waits and is disturbed.

The faults are those that were seen on a real Kubeflow Trainer, and those of a launcher that others
have written: it gave up in a queue, missed short jobs, and left pods behind.
"""

import logging
import signal
import threading
import time

import pytest

from components.train.trainer_job.patience import Patience
from segmentor.digests import digest_file
from segmentor.errors import DeployError, TrainingError
from tests.components.conftest import NAMESPACE
from tests.components.train.trainer_job.conftest import JOBS, PATIENCE, training_manifest
from tests.waiting import wait_for

FINE = {"log": ["INFO epoch=1/4"], "seconds": 5}
ERROR = "error: training.epochs: -1, expected at least 1"
KNOWN = {"log": ["Traceback", ERROR], "exit": 3, "seconds": 3}


def patience(**changes: float) -> Patience:
    return Patience(**{**vars(PATIENCE), **changes})


@pytest.fixture
def trained(nodes, finished):
    """The nodes, whose outputs are in the store already."""
    nodes.put_outputs(finished.checkpoint)
    return nodes


def require_clean(nodes) -> None:
    assert nodes.jobs() == []
    assert nodes.pods() == []
    assert nodes.overlaps() == 0


def test_the_outputs_of_the_first_node_become_the_step_s(trained, finished, caplog):
    caplog.set_level(logging.INFO)
    trained.server.script(attempts=[[FINE, {**FINE, "log": ["INFO rank one is here"]}]])
    assert trained.train() == {"metrics": {"val_iou": 0.5}}
    for name in ("weights.safetensors", "contract.json"):
        one, other = finished.checkpoint / name, trained.folder / "checkpoint" / name
        assert digest_file(one) == digest_file(other)
    assert sorted(path.name for path in trained.folder.iterdir()) == [
        "checkpoint", "logs", "metrics.json", "report.html",
    ]  # fmt: skip
    for line in ("rank=0 INFO epoch=1/4", "rank=1 INFO rank one is here"):
        assert caplog.text.count(line) == 1
    require_clean(trained)


def test_the_nodes_find_the_data_sets_in_the_store(trained, road_data, tmp_path):
    trained.server.script(attempts=[[FINE]])
    trained.train()
    for name in ("train", "val"):
        trained.store.download(trained.training.child(f"inputs/{name}/"), tmp_path / name)
        for path in (road_data / name).iterdir():
            assert digest_file(path) == digest_file(tmp_path / name / path.name)


def test_a_job_that_is_complete_before_the_first_look_is_a_success(trained):
    trained.server.script(scale=0.001, attempts=[[FINE]])
    trained.train()
    require_clean(trained)


def test_a_known_error_ends_it_at_once_with_the_words_of_the_rank_that_failed_first(nodes):
    nodes.server.script(attempts=[[FINE, KNOWN]])
    with pytest.raises(TrainingError) as failure:
        nodes.train()
    assert failure.value.found == (
        "rank 1 ended with exit code 3: training.epochs: -1, expected at least 1"
    )
    require_clean(nodes)


def test_below_torchrun_s_account_the_process_s_own_error_is_found(nodes):
    lines = [ERROR, *["Traceback line"] * 25, "Root Cause (first observed failure): exitcode : 3"]
    nodes.server.script(attempts=[[FINE, {"log": lines, "exit": 1, "seconds": 3}]], scale=0.03)
    with pytest.raises(TrainingError, match="rank 1 ended with exit code 1: training.epochs: -1"):
        nodes.train()


def test_out_of_memory_is_named_after_all_attempts(nodes, caplog):
    killed = {"exit": 137, "reason": "OOMKilled", "seconds": 2}
    nodes.server.script(attempts=[[FINE, killed]], scale=0.05)
    with pytest.raises(TrainingError, match="rank 1 ran out of memory; raise train_memory"):
        nodes.train()
    assert [f"started again attempt={number}" in caplog.text for number in (2, 3, 4, 5)] == [
        True, True, True, False,
    ]  # fmt: skip
    require_clean(nodes)


def test_a_set_that_is_started_again_is_watched_on(trained, caplog):
    """`failed: 1` shows up in jobsStatus for a moment, and is no end."""
    killed = {"exit": 137, "reason": "Error", "log": ["INFO epoch=2/4"], "seconds": 2}
    trained.server.script(attempts=[[FINE, killed], [FINE]])
    trained.train()
    assert "started again attempt=2 cause='rank 1 ended with exit code 137" in caplog.text
    require_clean(trained)


def test_evictions_are_not_counted(trained):
    evicted = {"evicted": True, "seconds": 1}
    trained.server.script(scale=0.03, attempts=[*[[FINE, evicted]] * 5, [FINE]])
    trained.train()
    require_clean(trained)


@pytest.mark.parametrize(
    ("start", "changes", "said"),
    [
        ("image", {"hopeless": 1}, "the image segmentor-trainer:0.1.0 cannot be pulled"),
        (
            "unschedulable",
            {"start": 3},
            "1 of 2 nodes run; no node has room for the pod (0/",
        ),
        ("refused", {"start": 3}, 'violates PodSecurity "restricted:latest"'),
        ("unnamed", {"start": 3}, "TrainJobResourcesCreationFailed: admission webhook"),
    ],
)
def test_nodes_that_do_not_start_are_given_up_with_the_reason(nodes, start, changes, said):
    """Kubeflow Trainer has no condition for any of them, and would wait for ever."""
    nodes.server.script(start=start, attempts=[[{"hangs": True}]], scale=0.02)
    with pytest.raises(TrainingError) as failure:
        nodes.train(patience(**changes))
    assert said in str(failure.value)
    remedy = {"image": "trainer_image", "unschedulable": "train_cpu"}.get(start, "events")
    assert remedy in failure.value.remedy
    require_clean(nodes)


def test_waiting_in_a_queue_is_no_failure_however_long(trained, caplog):
    caplog.set_level(logging.INFO)
    trained.server.script(start="queued", attempts=[[FINE]])

    def admit() -> None:
        wait_for(trained.jobs)
        time.sleep(4)
        path = f"{JOBS}/{trained.jobs()[0]['metadata']['name']}"
        trained.server.patch(path, "kueue", {"spec": {"suspend": False}})

    admission = threading.Thread(target=admit)
    admission.start()
    trained.train(patience(start=3, report=0.5))
    admission.join()
    assert caplog.text.count("is suspended") >= 2
    require_clean(trained)


def test_a_hang_is_ended_after_a_while(nodes):
    nodes.server.script(attempts=[[{"hangs": True, "log": ["INFO epoch=3/4"]}]], scale=0.02)
    with pytest.raises(TrainingError, match="no line from any rank for .* after 'INFO epoch=3/4'"):
        nodes.train(patience(stall=3))
    require_clean(nodes)


def test_a_job_that_somebody_deletes_is_an_error(nodes):
    nodes.server.script(attempts=[[{**FINE, "seconds": 1000}]])

    def delete() -> None:
        wait_for(nodes.pods)
        path = f"{JOBS}/{nodes.jobs()[0]['metadata']['name']}?propagationPolicy=Background"
        nodes.server.request("DELETE", path)

    deletion = threading.Thread(target=delete)
    deletion.start()
    with pytest.raises(TrainingError, match="somebody has deleted it"):
        nodes.train()
    deletion.join()
    require_clean(nodes)


def test_a_complete_job_without_its_checkpoint_is_no_success(nodes, finished):
    nodes.server.script(attempts=[[FINE]], scale=0.03)
    with pytest.raises(TrainingError, match=r"outputs.json is missing although the TrainJob"):
        nodes.train()
    nodes.put_outputs(finished.checkpoint)
    nodes.store.write(nodes.training.child("outputs/checkpoint/contract.json"), b"{}")
    with pytest.raises(TrainingError, match=r"contract.json has another digest"):
        nodes.train()
    assert list(nodes.folder.iterdir()) == []
    require_clean(nodes)


def test_a_creation_whose_reply_is_lost_makes_one_job(trained):
    trained.server.script(lost_reply=True, attempts=[[FINE]])
    trained.train()
    require_clean(trained)


def test_a_trainer_that_is_away_for_a_moment_is_waited_for(trained):
    trained.server.script(start="dead")
    later = threading.Timer(1, lambda: trained.server.script(attempts=[[FINE]]))
    later.start()
    trained.train()
    later.join()
    require_clean(trained)


def test_watches_that_break_off_lose_nothing(trained, caplog):
    caplog.set_level(logging.INFO)
    trained.server.trouble("gone", "garbled", "closed", "mute", "gone", "closed")
    killed = {"exit": 137, "reason": "Error", "log": ["INFO epoch=2/4"], "seconds": 2}
    trained.server.script(attempts=[[FINE, killed], [FINE]])
    trained.train()
    assert caplog.text.count("rank=1 INFO epoch=2/4") == 1
    require_clean(trained)


def test_the_role_has_what_the_step_asks_for_and_no_more(start_cluster, trained, monkeypatch):
    from components.node_options import NodeOptions
    from components.train_job import rehearse_training

    monkeypatch.setenv("KFP_POD_NAME", "launcher")
    monkeypatch.setenv("KFP_POD_UID", "uid-of-launcher")
    rules = training_manifest("rbac.yaml")["rules"]
    granted = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    rehearse_training(NodeOptions(train_nodes=2))
    assert trained.server.used() == granted
    for missing in sorted(granted):
        less = [
            {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
            for group, resource, verb in granted - {missing}
        ]
        start_cluster(less)
        with pytest.raises(DeployError, match=f'cannot {missing[2]} resource "{missing[1]}"'):
            rehearse_training(NodeOptions(train_nodes=2))


# Launchers that are ended, as processes.


def test_sigterm_deletes_the_job_and_waits_for_its_pods(nodes):
    nodes.server.script(attempts=[[{**FINE, "seconds": 1000}]])
    launcher = nodes.start("first")
    wait_for(lambda: len(nodes.pods()) == 2)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(100) == 143
    require_clean(nodes)


def test_an_evicted_launcher_s_successor_owns_the_job_and_watches_on(trained, tmp_path):
    trained.server.script(attempts=[[{**FINE, "until": str(tmp_path / "watched on")}]])
    first = trained.start("first")
    wait_for(lambda: len(trained.pods()) == 2)
    identity = _identity(trained)
    first.kill()  # no SIGTERM, and its pod's object stays
    first.wait()
    second = trained.start("second")
    wait_for(lambda: _owner(trained) == "second")
    trained.delete_pod("first")  # which takes nothing with it
    time.sleep(0.5)
    assert _identity(trained) == identity
    (tmp_path / "watched on").touch()
    assert second.wait(200) == 0, second.stderr.read()
    require_clean(trained)


def test_a_deleted_launcher_s_successor_waits_for_the_pods_and_begins_anew(trained):
    trained.server.script(scale=0.5, attempts=[[{**FINE, "seconds": 1}]])
    first = trained.start("first")
    wait_for(lambda: len(trained.pods()) == 2)
    first.kill()
    first.wait()
    trained.delete_pod("first")
    wait_for(lambda: not trained.jobs())
    assert trained.pods()  # they live on, with the name of their job
    second = trained.start("second")
    assert second.wait(200) == 0, second.stderr.read()
    require_clean(trained)


def test_a_failed_job_of_a_lost_launcher_is_made_anew(trained):
    trained.server.script(attempts=[[FINE, KNOWN]])
    first = trained.start("first")
    wait_for(trained.jobs)
    first.kill()
    first.wait()
    wait_for(lambda: trained.jobs()[0].get("status", {}).get("conditions"))
    failed = _identity(trained)
    second = trained.start("second")
    wait_for(lambda: _identity(trained) not in ("", failed))
    assert second.wait(200) == 3  # by the same error
    assert NAMESPACE in second.stderr.read()
    require_clean(trained)


def _owner(nodes) -> str:
    jobs = nodes.jobs()
    return jobs[0]["metadata"]["ownerReferences"][0]["name"] if jobs else ""


def _identity(nodes) -> str:
    jobs = nodes.jobs()
    return jobs[0]["metadata"]["uid"] if jobs else ""
