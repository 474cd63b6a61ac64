"""What a user of `segmentor run` sees when something is wrong: one line, exit code, no ruins."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_export import write_small_export

from segmentor.object_store import ObjectStore
from tests.waiting import wait_for

SEGMENTOR = [sys.executable, "-m", "pipelines.cli"]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_export(tmp_path_factory.mktemp("export") / "small.zip")


@pytest.fixture(autouse=True)
def _store_of_all_tests(store: ObjectStore) -> None:
    """So that no run starts one of its own."""


def _segmentor(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*SEGMENTOR, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def _results(run: Path, step: str) -> set[str]:
    """Names that a step left, hidden and partial ones too."""
    folder = run / "artifacts" / step
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _assert_one_error(result: subprocess.CompletedProcess[str], message: str) -> None:
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 3, result.stderr
    assert len(errors) == 1, result.stderr
    assert message in errors[0]
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == errors[0]


def test_a_zip_of_something_else_is_refused_with_the_formats_there_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "wrong.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")

    result = _segmentor("run", "--export", tmp_path / "wrong.zip", "--output", tmp_path / "run")

    _assert_one_error(result, "no known label format (readme.txt), expected one of CVAT for images")
    assert "dataset" not in _results(tmp_path / "run", "convert_labels")


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    exports.mkdir()
    (exports / "cut.zip").write_bytes(b"PK\x03\x04 and no more")

    result = _segmentor("run", "--export", exports / "cut.zip", "--output", tmp_path / "run")

    _assert_one_error(result, "download the export again")
    # Nothing is done that could be mixed up: another export may take the folder.
    again = _segmentor("run", "--export", exports, "--output", tmp_path / "run")
    _assert_one_error(again, "a folder around cut.zip, expected the export itself; give that")


def test_an_unknown_class_is_refused_with_the_labels_there_are(
    export: Path, tmp_path: Path
) -> None:
    result = _segmentor(
        "run", "--export", export, "--output", tmp_path / "run", "--param", "classes=road=rode"
    )

    _assert_one_error(result, "no label 'rode' in the export, expected one of 'car', 'lane_mark'")
    assert "dataset" not in _results(tmp_path / "run", "convert_labels")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=1", "training.epochs"),
        ("model.encoder=resnet43", "model.encoder: 'resnet43'"),
    ],
)
def test_a_wrong_override_is_refused_before_anything_runs(
    export: Path, tmp_path: Path, override: str, said: str
) -> None:
    result = _segmentor("run", "--export", export, "--output", tmp_path / "run", override)

    _assert_one_error(result, said)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_else_is_not_written_over(
    export: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("Dear")

    result = _segmentor("run", "--export", export, "--output", tmp_path / "run")

    _assert_one_error(result, "a folder that is not empty, expected a new one for each run")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_run_that_is_stopped_half_way_leaves_no_process_and_no_half_result(
    export: Path, tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    command = [*SEGMENTOR, "run", "--export", str(export), "--output", str(run)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for((run / "logs" / "train.log").is_file, process)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=100)

    assert process.returncode == code, errors
    assert f"to continue: segmentor run --export {export} --output {run}\n" in errors
    assert "Traceback" not in errors
    assert "checkpoint" not in _results(run, "train")
    assert not [name for name in _results(run, "train") if "partial" in name]
    assert '"state": "interrupted"' in (run / "run.json").read_text()
    # What was killed takes a moment to be gone.
    wait_for(
        lambda: subprocess.run(["pgrep", "-f", str(run)], stdout=subprocess.DEVNULL).returncode
    )


@pytest.mark.parametrize("kibibytes", [120, 240], ids=["before convert", "in convert"])
def test_a_full_disk_is_said_in_one_line_and_leaves_no_half_data_set(
    export: Path, tmp_path: Path, kibibytes: int
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # A file system of its own in a namespace of its own: it is gone with the process.
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size={kibibytes}k none {disk}"
    if not shutil.which("unshare") or subprocess.run([*unshare, mount], check=False).returncode:
        pytest.skip("this system lets nobody make a small file system (unshare, tmpfs)")
    run = disk / "run"
    command = " ".join([*SEGMENTOR, "run", "--export", str(export), "--output", str(run)])
    listing = f"ls -A {run / 'artifacts' / 'convert_labels'}"

    result = subprocess.run(
        [*unshare, f"{mount} && {command}; code=$?; {listing}; exit $code"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ,
    )

    _assert_one_error(result, "No space left on device")
    assert f"{run}/artifacts/" in result.stderr or f"{run}: No space" in result.stderr
    assert "dataset" not in result.stdout.split()
    assert "partial" not in result.stdout
