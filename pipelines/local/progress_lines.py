"""The progress of a run as a person sees it: a line a step; on a terminal it lives meanwhile."""

import re
import shutil
import threading
import time
from pathlib import Path
from typing import TextIO

from pipelines.local.orchestrator import StepObserver
from segmentor.run_record import ArtifactRecord, StepRecord

SECONDS_BETWEEN_UPDATES = 0.5
SECONDS_BETWEEN_LINES = 15.0  # where lines stay, as in a file or in CI
NAME_WIDTH = 16
WARNINGS_SHOWN = 5  # of a step; the run page and the reports have all
_CLEAR = "\r\x1b[2K"
# The start of a log line: time, level, and module.
_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+ \S+ (progress )?")
_AMBER, _PLAIN = "\x1b[33m", "\x1b[0m"


class StepDisplay(StepObserver):
    """Write `train  done  81.2 s` as steps end; one line at a time, also from threads."""

    def __init__(self, stream: TextIO) -> None:
        """Create the display without printing anything yet."""
        self._stream = stream
        self._is_live = stream.isatty()
        self._lock = threading.Lock()
        self._running: dict[str, tuple[float, Path]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._update, daemon=True).start()

    def started(self, step: str, log: Path) -> None:
        """Show that a step runs."""
        with self._lock:
            self._running[step] = (time.monotonic(), log)

    def finished(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        """Write the step's line, and one for each of its warnings."""
        with self._lock:
            self._running.pop(record.name, None)
            self._write(f"{record.name:<{NAME_WIDTH}} {record.state:<11}{record.seconds:8.1f} s\n")
            for warning in _shown([line for item in artifacts for line in item.warnings]):
                line = f"{record.name:<{NAME_WIDTH}} warning    {_printable(warning)}"
                self._write(f"{_AMBER}{line}{_PLAIN}\n" if self._is_live else f"{line}\n")

    def kept(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        """Write a line for a step of an earlier run; its warnings were shown then."""
        with self._lock:
            self._running.pop(record.name, None)
            self._write(f"{record.name:<{NAME_WIDTH}} {'kept':<11}{record.seconds:8.1f} s before\n")

    def close(self) -> None:
        """End the live line."""
        self._closed.set()
        with self._lock:
            self._write("")

    def _write(self, text: str) -> None:
        self._stream.write((_CLEAR if self._is_live else "") + text)
        self._stream.flush()

    def _update(self) -> None:
        seconds = SECONDS_BETWEEN_UPDATES if self._is_live else SECONDS_BETWEEN_LINES
        while not self._closed.wait(seconds):
            with self._lock:
                if self._running and not self._closed.is_set():
                    step, (start, log) = list(self._running.items())[-1]
                    elapsed = time.monotonic() - start
                    line = _PREFIX.sub("", _last_line(log))
                    text = f"{step:<{NAME_WIDTH}} {'running':<11}{elapsed:8.1f} s  {line}"
                    width = shutil.get_terminal_size().columns - 1
                    self._write(text[:width] if self._is_live else f"{text}\n")


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
    """Drop control characters, which would move the cursor."""
    return "".join(filter(str.isprintable, text))
