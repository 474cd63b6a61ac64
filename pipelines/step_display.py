"""The progress of a run as a person sees it: a line a step; on a terminal it lives meanwhile."""

import shutil
import threading
import time
from pathlib import Path
from typing import TextIO

from pipelines.local_orchestrator import StepObserver
from pipelines.run_record import ArtifactRecord, StepRecord

SECONDS_BETWEEN_UPDATES = 0.5
NAME_WIDTH = 16
WARNINGS_SHOWN = 5  # of a step; the run page and the reports have all
_CLEAR = "\r\x1b[2K"
_AMBER, _PLAIN = "\x1b[33m", "\x1b[0m"


class StepDisplay(StepObserver):
    """Writes `train  done  81.2 s` as steps end; one line at a time, also from threads."""

    def __init__(self, stream: TextIO) -> None:
        """Makes the display; nothing is written yet."""
        self._stream = stream
        self._is_live = stream.isatty()
        self._lock = threading.Lock()
        self._running: dict[str, tuple[float, Path]] = {}
        self._closed = threading.Event()
        if self._is_live:
            threading.Thread(target=self._update, daemon=True).start()

    def started(self, step: str, log: Path) -> None:
        """Shows that a step runs."""
        with self._lock:
            self._running[step] = (time.monotonic(), log)

    def finished(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        """Writes the step's line, and one for each of its warnings."""
        with self._lock:
            self._running.pop(record.name, None)
            self._write(f"{record.name:<{NAME_WIDTH}} {record.state:<11}{record.seconds:8.1f} s\n")
            for warning in _shown([line for item in artifacts for line in item.warnings]):
                line = f"{record.name:<{NAME_WIDTH}} warning    {_printable(warning)}"
                self._write(f"{_AMBER}{line}{_PLAIN}\n" if self._is_live else f"{line}\n")

    def kept(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        """Writes a line for a step of an earlier run; its warnings were shown then."""
        with self._lock:
            self._running.pop(record.name, None)
            self._write(f"{record.name:<{NAME_WIDTH}} {'kept':<11}{record.seconds:8.1f} s before\n")

    def close(self) -> None:
        """Ends the live line."""
        self._closed.set()
        with self._lock:
            self._write("")

    def _write(self, text: str) -> None:
        self._stream.write((_CLEAR if self._is_live else "") + text)
        self._stream.flush()

    def _update(self) -> None:
        while not self._closed.wait(SECONDS_BETWEEN_UPDATES):
            with self._lock:
                if self._running and not self._closed.is_set():
                    step, (start, log) = list(self._running.items())[-1]
                    seconds = time.monotonic() - start
                    text = (
                        f"{step:<{NAME_WIDTH}} {'running':<11}{seconds:8.1f} s  {_last_line(log)}"
                    )
                    self._write(text[: shutil.get_terminal_size().columns - 1])


def _shown(warnings: list[str]) -> list[str]:
    more = len(warnings) - WARNINGS_SHOWN
    return [*warnings[:WARNINGS_SHOWN], *([f"{more} more in its report"] if more > 0 else [])]


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 2048))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return _printable(next(filter(None, map(str.strip, lines[::-1])), ""))


def _printable(text: str) -> str:
    """Leaves out what would move the cursor."""
    return "".join(filter(str.isprintable, text))
