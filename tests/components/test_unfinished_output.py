"""What a killed process left beside its outputs goes with the next start, and nothing else does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.cli import output_file, output_folder
from components.unfinished_output import remove_leftovers

# Both kinds of output, begun; then it waits to be killed.
WORK = """
import sys, time
from pathlib import Path
from components.cli import output_file, output_folder

out = Path(sys.argv[1])
with output_folder(out / "dataset") as folder, output_file(out / "report.html") as page:
    (folder / "shard-00000.tar").write_bytes(bytes(1000))
    page.write_text("half a page")
    print("begun", flush=True)
    time.sleep(300)
"""


@pytest.fixture(autouse=True)
def _a_start_of_its_own() -> None:
    remove_leftovers.cache_clear()


@pytest.fixture
def writer(tmp_path: Path, repository: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun two outputs in `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=repository,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    yield process
    process.kill()
    process.communicate()


def partials(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


def test_what_a_killed_process_left_goes_with_the_next_start(
    writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(partials(tmp_path)) == 2
    with output_file(tmp_path / "other.json") as path:
        path.write_text("{}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["other.json"]


def test_what_a_living_process_writes_stays_though_it_is_the_same_output(
    writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    theirs = partials(tmp_path)
    with output_folder(tmp_path / "dataset") as folder:
        (folder / "samples.jsonl").touch()
    assert partials(tmp_path) == theirs
    assert (theirs[0] / "shard-00000.tar").stat().st_size == 1000


def test_what_was_left_under_another_kernel_or_without_a_lock_stays(
    writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    writer.kill()
    writer.wait()
    theirs = partials(tmp_path)
    (theirs[0] / ".lock").write_text("00000000-0000-0000-0000-000000000000\n")
    (theirs[1] / ".lock").unlink()
    remove_leftovers(tmp_path)
    assert partials(tmp_path) == theirs


def test_an_output_holds_what_was_written_alone_with_the_usual_rights(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a") as folder, output_file(tmp_path / "b.json") as path:
        (folder / "samples.jsonl").touch()
        path.touch()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "a",
        "a/samples.jsonl",
        "b.json",
    ]
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert os.access(tmp_path / "b.json", os.R_OK)


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), output_folder(tmp_path / "a"), output_file(tmp_path / "b"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
