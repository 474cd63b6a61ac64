import io
from pathlib import Path

import pytest

from pipelines.local import progress_lines
from pipelines.local.progress_lines import StepDisplay
from tests.waiting import wait_for


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_step_that_runs_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr(progress_lines, "SECONDS_BETWEEN_UPDATES", 0.01)
    monkeypatch.setattr(progress_lines, "SECONDS_BETWEEN_LINES", 0.01)
    monkeypatch.setenv("COLUMNS", "200")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    log = tmp_path / "train.log"
    log.write_text(
        "2026-11-30 19:24:00,175 INFO components.train.show progress epoch=2/6 batch=4/12\n"
    )
    display = StepDisplay(stream)
    display.started("train", log)
    wait_for(lambda: "epoch" in stream.getvalue())
    display.close()
    shown = stream.getvalue().split("\r\x1b[2K" if is_terminal else "\n")
    line = next(line for line in shown if "epoch" in line)
    assert line.startswith("train            running ")
    assert line.endswith(" s  epoch=2/6 batch=4/12")
