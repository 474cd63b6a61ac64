"""A run that was interrupted or has failed goes on in its folder."""

import fcntl
import io
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_export import write_small_export
from tiny_pipeline import compile_tiny, looking

from pipelines.local.folder import plan_run
from pipelines.local.run import RunFailedError, run_local
from segmentor.errors import ConfigError
from segmentor.run_record import RunRecord
from tests.waiting import says, wait_for


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def failed(tiny: Path, tmp_path: Path) -> dict[str, str]:
    """A run whose second step misses a file; returns its parameters."""
    (tmp_path / "export.zip").write_text("export")
    needed = tmp_path / "needed"
    parameters = {
        "source": str(tmp_path / "export.zip"),
        "ending": f"if not Path({str(needed)!r}).exists(): sys.exit('error: needed')",
    }
    with pytest.raises(RunFailedError, match="consume: needed"):
        run_again(tiny, tmp_path, parameters)
    return parameters


def run_again(tiny: Path, folder: Path, parameters: dict[str, str]) -> tuple[RunRecord, list[str]]:
    """Run in the same folder; return the record, and step and state of each line."""
    stream = io.StringIO()
    record = run_local("host", parameters, folder / "run", pipeline=tiny, stream=stream)
    return record, [" ".join(line.split()[:2]) for line in stream.getvalue().splitlines()]


def test_after_its_cause_is_mended_a_failed_run_goes_on_at_the_step_that_failed(
    tiny: Path, tmp_path: Path, failed: dict[str, str]
) -> None:
    before = RunRecord.read(tmp_path / "run")
    (tmp_path / "needed").touch()
    record, lines = run_again(tiny, tmp_path, failed)
    assert lines == ["produce kept", "consume done", "idle done"]
    assert record.state == "done"
    assert record.steps[0] == before.steps[0]
    assert record.artifacts[: len(before.artifacts)] == before.artifacts
    assert (tmp_path / "run" / "logs" / "produce.log").read_text() == "produced\n"
    assert "needed" in (tmp_path / "run" / "logs" / "consume.earlier.log").read_text()
    assert RunRecord.read(tmp_path / "run") == record


def test_what_fails_again_can_go_on_again(
    tiny: Path, tmp_path: Path, failed: dict[str, str]
) -> None:
    for _ in range(2):
        with pytest.raises(RunFailedError, match="consume: needed"):
            run_again(tiny, tmp_path, failed)
    (tmp_path / "needed").touch()
    assert run_again(tiny, tmp_path, failed)[1][0] == "produce kept"


def test_a_step_whose_output_was_changed_runs_again_and_all_after_it(
    tiny: Path, tmp_path: Path, failed: dict[str, str]
) -> None:
    dataset = tmp_path / "run" / "artifacts" / "produce" / "dataset" / "text.txt"
    dataset.write_text("another")
    (tmp_path / "needed").touch()
    lines = run_again(tiny, tmp_path, failed)[1]
    assert lines == ["produce done", "consume done", "idle done"]
    assert dataset.read_text() == "hello"


def test_with_other_parameters_what_they_do_not_concern_is_kept(
    tiny: Path, tmp_path: Path, failed: dict[str, str]
) -> None:
    record, lines = run_again(tiny, tmp_path, {**failed, "ending": "pass"})
    assert lines == ["produce kept", "consume done", "idle done"]
    assert record.parameters["ending"] == "pass"


def test_another_parameter_of_the_first_step_lets_all_run_again(
    tiny: Path, tmp_path: Path, failed: dict[str, str]
) -> None:
    lines = run_again(tiny, tmp_path, {**failed, "ending": "pass", "text": "another"})[1]
    assert lines == ["produce done", "consume done", "idle done"]
    dataset = tmp_path / "run" / "artifacts" / "produce" / "dataset" / "text.txt"
    assert dataset.read_text() == "another"


def test_a_step_without_outputs_runs_each_time_and_what_follows_is_kept(tmp_path: Path) -> None:
    """As check_deployment: another threshold is no reason to train again."""
    pipeline = compile_tiny(tmp_path, looking)
    with pytest.raises(RunFailedError, match="consume"):
        run_again(pipeline, tmp_path, {"ending": "sys.exit(3)"})
    lines = run_again(pipeline, tmp_path, {"wish": "another"})[1]
    assert lines == ["look done", "produce kept", "consume done"]


def test_what_differs_from_the_earlier_run_is_named(
    tiny: Path, tmp_path: Path, failed: dict[str, str]
) -> None:
    plan = plan_run("host", {**failed, "ending": "pass"}, tmp_path / "run", tiny)
    assert plan.changes == [f"ending {failed['ending']!r} -> 'pass'"]


def test_a_changed_export_is_refused(tiny: Path, tmp_path: Path, failed: dict[str, str]) -> None:
    (tmp_path / "export.zip").write_text("another export")
    with pytest.raises(ConfigError, match=r"a run on .*export\.zip before it was changed"):
        run_again(tiny, tmp_path, failed)


def test_two_runs_do_not_go_on_in_one_folder(
    tiny: Path, tmp_path: Path, failed: dict[str, str]
) -> None:
    with (tmp_path / "run" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="a run in progress"):
            plan_run("host", failed, tmp_path / "run", tiny)


def test_outputs_of_the_attempt_before_are_not_taken_for_those_of_this_one(
    tiny: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    ending = (
        f"import signal\nif Path({str(flag)!r}).exists(): sys.exit(0)\n"
        "Path(metrics).write_text('old'); write_executor_output(executor_input, {}); sys.exit(1)"
    )
    with pytest.raises(RunFailedError):
        run_again(tiny, tmp_path, {"ending": ending})
    flag.touch()
    with pytest.raises(RunFailedError, match="output metrics is not in its ExecutorOutput"):
        run_again(tiny, tmp_path, {"ending": ending})


@pytest.mark.slow
def test_a_training_that_was_interrupted_goes_on_to_the_checkpoint_of_an_undisturbed_one(
    tmp_path: Path, store_environment: dict[str, str]
) -> None:
    export, run = write_small_export(tmp_path / "small.zip"), tmp_path / "run"
    arguments = ["run", "--export", str(export), "--output", str(run), "training.epochs=12"]
    environment = {**os.environ, **store_environment}
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: says(run / "logs" / "train.log", "epoch=2/12"))
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=200)[1]
    assert process.returncode == 130, errors
    told = next(line for line in errors.splitlines() if line.startswith("to continue: segmentor "))
    assert shlex.split(told.removeprefix("to continue: segmentor ")) == arguments

    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    states = [" ".join(line.split()[:2]) for line in again.stderr.splitlines()]
    assert "convert_labels kept" in states
    assert "split kept" in states
    assert "resume kind=interrupted" in (run / "logs" / "train.log").read_text()

    record = RunRecord.read(run)
    other = tmp_path / "undisturbed"
    flags = [f"--{name}={record.artifact('split', name)}" for name in ("train", "val")]
    outputs = ("checkpoint", "metrics", "logs", "training-report")
    flags += [f"--{name}={other / name}" for name in outputs]
    module = [sys.executable, "-m", "components.train", *flags, "training.epochs=12"]
    subprocess.run(module, check=True, capture_output=True)
    for name in ("weights.safetensors", "contract.json"):
        content = (record.artifact("train", "checkpoint") / name).read_bytes()
        assert content == (other / "checkpoint" / name).read_bytes()
