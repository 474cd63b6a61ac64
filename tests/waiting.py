"""Waits for what another thread or process does; a busy machine may take its time."""

import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(
    what: Callable[[], object],
    process: subprocess.Popen[Any] | None = None,
    seconds: float = 200,
) -> None:
    """Return once it is true; fail if it takes too long, or if the process ends before."""
    deadline = time.monotonic() + seconds
    while not what():
        assert process is None or process.poll() is None, "the process has ended"
        assert time.monotonic() < deadline, f"not true within {seconds:g} s"
        time.sleep(0.03)


def says(path: Path, text: str = "") -> bool:
    """Return whether a file is there and has a text, or anything at all."""
    return path.is_file() and (content := path.read_text()) != "" and text in content


def answers(url: str) -> bool:
    """Return whether a server answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False
