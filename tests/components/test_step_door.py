"""The front door of the steps: full disks, and folders that are not theirs to replace."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from components.cli import guarded, output_file, output_folder
from segmentor.errors import ConfigError


def _write_to_a_full_device(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"anything")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("output", [output_folder, output_file])
def test_a_full_disk_is_said_with_the_output_that_it_was_for(
    output: Callable[[Path], AbstractContextManager[Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        with output(tmp_path / "result") as partial:
            partial.parent.mkdir(exist_ok=True)
            _write_to_a_full_device(Path("/dev/full"))

    assert guarded(work) == 3
    assert capsys.readouterr().err == f"error: {tmp_path / 'result'}: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", [output_folder, output_file])
@pytest.mark.parametrize("place", ["file/x", "file/deeper/x"])
def test_an_output_below_a_file_is_an_error_in_one_line(
    output: Callable[[Path], AbstractContextManager[Path]], place: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(ConfigError, match=f"{place}: a path below a file, expected one below"),
        output(tmp_path / place),
    ):
        pass


def test_a_file_in_the_place_of_a_folder_is_an_error_in_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=f"{tmp_path}: a folder, expected the path of a file"),
        output_file(tmp_path),
    ):
        pass


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "project" / "thesis.docx"
    precious.parent.mkdir()
    precious.write_text("years")
    refused = pytest.raises(ConfigError, match=r"other files \(thesis.docx\).*give another")
    with refused, output_folder(precious.parent):
        pytest.fail("the work must not begin")
    assert precious.read_text() == "years"


@pytest.mark.parametrize("earlier", [None, "samples.jsonl", "run/events.out.tfevents.1"])
def test_an_empty_folder_and_an_earlier_output_are_replaced(
    earlier: str | None, tmp_path: Path
) -> None:
    folder = tmp_path / "result"
    folder.mkdir()
    if earlier:
        (folder / earlier).parent.mkdir(exist_ok=True)
        (folder / earlier).touch()
    with output_folder(folder) as partial:
        (partial / "new").touch()
    assert [entry.name for entry in folder.iterdir()] == ["new"]


def test_sigterm_during_the_import_of_compiled_code_ends_with_its_own_code() -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            # What NumPy's C API makes of any exception while OpenCV loads it.
            raise ImportError("numpy.core.multiarray failed to import") from None

    assert guarded(work) == 143


def test_an_import_that_fails_by_itself_stays_a_bug() -> None:
    def work() -> None:
        raise ImportError("no such module")

    with pytest.raises(ImportError):
        guarded(work)
