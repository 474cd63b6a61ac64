import io
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_pipeline import compile_tiny

from pipelines.local.folder import new_run_folder
from pipelines.local.run import RunFailedError, run_local
from segmentor.digests import digest_tree
from segmentor.errors import ConfigError, ContractError
from segmentor.run_record import RunRecord
from tests.waiting import says, wait_for


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return compile_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory) -> RunRecord:
    folder = tmp_path_factory.mktemp("finished") / "run"
    return run_local("host", {"text": "hello"}, folder, pipeline=tiny, stream=io.StringIO())


def failed(tiny: Path, folder: Path, ending: str) -> RunFailedError:
    with pytest.raises(RunFailedError) as caught:
        run_local("host", {"ending": ending}, folder, pipeline=tiny, stream=io.StringIO())
    return caught.value


def test_a_run_ends_with_every_artifact_where_it_belongs(finished):
    dataset = finished.artifact("produce", "dataset")
    assert dataset == finished.folder / "artifacts" / "produce" / "dataset"
    assert (dataset / "text.txt").read_text() == "hello"
    record = finished.artifact_record("produce", "dataset")
    assert record.type == "system.Dataset"
    assert record.digest == digest_tree(dataset)
    assert record.metadata == {"letters": 5}


def test_run_json_holds_the_whole_record_and_survives_a_move(finished, tmp_path):
    assert RunRecord.read(finished.folder) == finished
    moved = tmp_path / "moved"
    moved.symlink_to(finished.folder)
    assert RunRecord.read(moved).artifact("consume", "metrics").is_file()


def test_the_folder_has_logs_configs_and_a_page_that_links_its_reports(finished):
    assert (finished.folder / "logs" / "produce.log").read_text() == "produced\n"
    assert "Executing task" in (finished.folder / "logs" / "kfp.log").read_text()
    assert "text: hello" in (finished.folder / "configs" / "parameters.yaml").read_text()
    assert (finished.folder / "configs" / "pipeline.yaml").is_file()
    page = (finished.folder / "index.html").read_text()
    assert 'href="reports/report.html"' in page
    assert (finished.folder / "reports" / "report.html").read_text().startswith("<!doctype html>")


def test_the_terminal_gets_one_line_a_step_and_nothing_else(tiny, tmp_path, capfd):
    stream = io.StringIO()
    run_local("host", {}, tmp_path / "run", pipeline=tiny, stream=stream)
    lines = [line.split()[:2] for line in stream.getvalue().splitlines()]
    assert lines == [["produce", "done"], ["consume", "done"], ["idle", "done"]]
    assert capfd.readouterr() == ("", "")


def test_what_a_step_warns_of_is_a_line_on_the_terminal_and_a_notice_on_the_page(tiny, tmp_path):
    ending = (
        "warnings = chr(10).join(['no tram in test', *map(str, range(5))]); "
        "Path(metrics).write_text('{}'); "
        "write_executor_output(executor_input, {'metrics': {'warnings': warnings}}); sys.exit(0)"
    )
    stream = io.StringIO()
    run_local("host", {"ending": ending}, tmp_path / "run", pipeline=tiny, stream=stream)
    lines = [line for line in stream.getvalue().splitlines() if "warning" in line]
    assert lines[0] == "consume          warning    no tram in test"
    assert len(lines) == 6
    assert lines[5].endswith("1 more in its report")
    page = (tmp_path / "run" / "index.html").read_text()
    assert '<p class="notice warning">consume: no tram in test</p>' in page


def test_a_known_error_of_a_step_is_shown_in_its_own_words(tiny, tmp_path):
    ending = "print('error: a.png: found X, expected Y; do Z'); sys.exit(3)"
    error = failed(tiny, tmp_path / "run", ending)
    assert str(error).startswith("consume: a.png: found X, expected Y; do Z; its log is ")
    assert error.record.state == "failed"
    assert RunRecord.read(tmp_path / "run") == error.record
    assert [(step.name, step.state) for step in error.record.steps] == [
        ("produce", "done"),
        ("consume", "failed"),
    ]
    assert error.record.steps[1].exit_code == 3
    assert "found X" in (tmp_path / "run" / "index.html").read_text()
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("raise ZeroDivisionError('by nothing')", "exit code 1: ZeroDivisionError: by nothing"),
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL; most often the memory was not enough"),
        ("sys.exit(0)", "output metrics is not in its ExecutorOutput"),
        (
            "write_executor_output(executor_input, {}); sys.exit(0)",
            "output metrics was not written to",
        ),
    ],
)
def test_every_other_way_to_fail_is_told_too(tiny, tmp_path, ending, told):
    assert str(failed(tiny, tmp_path / "run", ending)).startswith(f"consume: {told}")


def test_what_a_killed_step_left_half_written_is_removed(tiny, tmp_path):
    ending = "Path(metrics).with_name('.metrics.partial-1').mkdir(); os.kill(os.getpid(), 9)"
    failed(tiny, tmp_path / "run", ending)
    assert list((tmp_path / "run" / "artifacts" / "consume").iterdir()) == []


def test_a_process_that_outlives_its_step_neither_holds_the_run_nor_stays(tiny, tmp_path):
    ending = (
        "import subprocess; child = subprocess.Popen(['sleep', '250']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))"
    )
    start = time.monotonic()
    run_local("host", {"ending": ending}, tmp_path / "run", pipeline=tiny, stream=io.StringIO())
    assert time.monotonic() - start < 200
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_steps_run_without_the_caller_s_folder_in_their_way(tiny, tmp_path, monkeypatch):
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    record = run_local("host", {}, Path("run"), pipeline=tiny, stream=io.StringIO())
    assert record.folder == tmp_path / "run"


def test_a_relative_source_is_taken_from_the_caller_s_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {"source": "export.zip"}
    record = run_local("host", values, Path("run"), pipeline=tiny, stream=io.StringIO())
    assert record.parameters["source"] == str(tmp_path / "export.zip")


def test_credentials_reach_the_steps_by_the_environment_alone(tiny, tmp_path):
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-this-test"}
    ending = "assert os.environ['AWS_SECRET_ACCESS_KEY'] == 's3cr3t-' + 'of-this-test'"
    run_local(
        "host",
        {"ending": ending},
        tmp_path / "run",
        pipeline=tiny,
        environment=environment,
        stream=io.StringIO(),
    )
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"s3cr3t-of-this-test" not in path.read_bytes(), path


def test_a_folder_in_use_is_refused(tiny, finished):
    with pytest.raises(ConfigError, match="a run that is done, expected a new folder"):
        run_local("host", {}, finished.folder, pipeline=tiny, stream=io.StringIO())


def test_an_artifact_that_no_step_made_is_named(finished):
    with pytest.raises(ContractError, match="no artifact model of step train"):
        finished.artifact("train", "model")
    with pytest.raises(ContractError, match=r"no run\.json"):
        RunRecord.read(finished.folder / "logs")


def test_two_runs_of_one_second_get_two_folders(tmp_path):
    first = new_run_folder(tmp_path)
    first.mkdir(parents=True)
    assert new_run_folder(tmp_path) != first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_ends_its_step_and_says_so(tiny, tmp_path, number):
    note = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
    ending = f"{note}; import time; time.sleep(250)"
    script = (
        "import sys; from pathlib import Path; from pipelines.local.run import run_local; "
        "run_local('host', {'ending': sys.argv[1]}, Path(sys.argv[2]), pipeline=Path(sys.argv[3]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, ending, tmp_path / "run", tiny],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: says(tmp_path / "pid"))
    process.send_signal(number)
    error = process.communicate(timeout=200)[1]
    assert process.returncode != 0
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_alive(pid))
    if number == signal.SIGKILL:
        return  # nobody was left to say anything
    record = RunRecord.read(tmp_path / "run")
    assert (record.state, record.steps[-1].state) == ("interrupted", "interrupted")
    assert "consume          interrupted" in error


def test_runs_of_several_threads_do_not_disturb_one_another(tiny, tmp_path):
    def run(name: str) -> RunRecord:
        values = {"text": name}
        return run_local("host", values, tmp_path / name, pipeline=tiny, stream=io.StringIO())

    with ThreadPoolExecutor(2) as pool:
        records = list(pool.map(run, ["one", "two"]))
    for name, record in zip(["one", "two"], records, strict=True):
        assert (record.artifact("produce", "dataset") / "text.txt").read_text() == name


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
