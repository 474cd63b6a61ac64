"""The front door of the steps: what it says of a disk that is full."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from components.cli import guarded, output_file, output_folder


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
