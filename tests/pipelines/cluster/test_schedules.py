"""Recurring runs, on a server that checks every request against kfp-server-api's own models."""

import pytest
from submitting import SOURCE, environment, submitted
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.cluster.schedules import (
    create_schedule,
    delete_schedule,
    list_schedules,
    pause_schedule,
    resume_schedule,
)
from pipelines.cluster.submission import version_name
from pipelines.compilation import LABELLING_YAML, SEGMENTATION_YAML
from segmentor.errors import ConfigError

NIGHTLY = "0 3 * * *"


@pytest.fixture
def create(server):
    def make(name="nightly", cron=NIGHTLY, parameters=SOURCE, **options):
        where = environment(server[0])
        return create_schedule(name, cron, parameters, environment=where, **options)

    return make


def test_a_schedule_runs_the_committed_pipeline_one_run_at_a_time(server, create):
    made = create(parameters={**SOURCE, "seed": "7"}, service_account="runner")
    records = server[1]
    (recurring,) = records.recurring
    assert recurring["recurring_run_id"] == made.id
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert (recurring["max_concurrency"], recurring["no_catchup"]) == (1, True)
    assert recurring["service_account"] == "runner"
    assert recurring["runtime_config"]["parameters"]["seed"] == 7
    assert [item["display_name"] for item in records.versions] == [version_name(SEGMENTATION_YAML)]
    assert not records.runs


def test_a_scheduled_run_has_the_inputs_of_a_submitted_one(server, create):
    """So that KFP's cache, whose keys are the inputs, knows the work of either."""
    create()
    submitted(server)
    records = server[1]
    (recurring,), (run,) = records.recurring, records.runs
    assert recurring["runtime_config"]["parameters"] == run["runtime_config"]["parameters"]
    assert recurring["pipeline_version_reference"] == run["pipeline_version_reference"]
    assert recurring["experiment_id"] == run["experiment_id"]
    assert len(records.versions) == 1


def test_labelling_can_be_scheduled(server, create):
    values = {
        "source": "cvat://cvat.example/projects/7?state=completed",
        "to": "cvat://cvat.example/projects/7",
        "model": "http://road-predictor.segmentor",
    }
    create(parameters=values, pipeline=LABELLING_YAML)
    (recurring,) = server[1].recurring
    assert values.items() <= recurring["runtime_config"]["parameters"].items()


def test_pause_resume_and_delete(server, create):
    where = {"environment": environment(server[0])}
    names = ["a", "b", "c", "nightly", "z"]
    for name in reversed(names):
        create(name)
    pause_schedule("nightly", **where)
    found = {item.name: item.is_enabled for item in list_schedules(**where)}
    assert found == {name: name != "nightly" for name in names}
    resume_schedule("nightly", **where)
    assert all(item.is_enabled for item in list_schedules(**where))
    delete_schedule("nightly", **where)
    assert [item.name for item in list_schedules(**where)] == ["a", "b", "c", "z"]


def test_a_name_is_taken_once(create):
    create()
    with pytest.raises(ConfigError, match="schedule nightly: exists.*schedule delete nightly"):
        create()


@pytest.mark.parametrize("cron", ["", "daily", "0 3 * *", "1 2 3 4 5 6 7"])
def test_a_wrong_expression_is_refused_before_anything_is_uploaded(server, create, cron):
    with pytest.raises(ConfigError, match=r"--cron: .*expected five fields"):
        create(cron=cron)
    assert not server[1].requests


def test_a_path_of_this_machine_is_refused(server, create):
    with pytest.raises(ConfigError, match="a path of this machine"):
        create(parameters={"source": "export.zip"})
    assert not server[1].requests


@pytest.mark.parametrize("change", [pause_schedule, resume_schedule, delete_schedule])
def test_a_schedule_that_is_not_there_is_told(server, change):
    with pytest.raises(ConfigError, match="schedule nightly: none of this name"):
        change("nightly", environment=environment(server[0]))


def test_the_commands(server, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server[0])

    def run(*arguments):
        result = CliRunner().invoke(app, ["schedule", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    run("create", "nightly", "--cron", NIGHTLY, "--export", "s3://datasets/task.zip", "seed=1")
    run("pause", "nightly")
    assert "nightly | paused | 0 0 3 * * *" in run("list")
    run("resume", "nightly")
    run("delete", "nightly")
    assert not server[1].recurring
