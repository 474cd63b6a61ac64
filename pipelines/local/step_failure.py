"""Reads why a step failed from its log, and removes the outputs it left half-written."""

import shutil
import signal
from pathlib import Path

from pipelines.error_lines import error_of

TAIL_BYTES = 65536
DISK_BLOCK = 4096
_PARTIAL = ".*.partial-*"  # the names of components/unfinished_output.py


def read_failure(exit_code: int, log: Path) -> str:
    """Return why a command failed, on one line: its own words, else its last line, else its end.

    Args:
        exit_code: Not 0; a signal's is 128 + its number.
        log: All that the command wrote.
    """
    lines = _last_lines(log)
    if message := error_of(lines):
        return message
    if exit_code > 128:
        return _ended_by_signal(exit_code - 128)
    last = lines[-1] if lines else "it wrote nothing"
    if shutil.disk_usage(log.parent).free < DISK_BLOCK:
        # The command could not say so, because its log is on the same disk.
        return f"No space left on device ({log.parent})"
    return f"exit code {exit_code}: {last}"


def remove_partial_outputs(task_root: Path) -> None:
    """Remove what a killed step could not remove itself."""
    for path in task_root.glob(_PARTIAL):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _ended_by_signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    reason = "; most often the memory was not enough" if name == "SIGKILL" else ""
    return f"ended by {name}{reason}"
