"""Child processes: their start and end, their environment, and free ports."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pipelines.source_revision import SOURCE_FOLDER

_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec nothing may be imported.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def start_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes],
    *,
    folder: Path | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, which ends when the thread that started it ends.

    Ctrl-C on a terminal reaches only us; `stop_process` then ends the process and its children.

    Args:
        command: The executable and its arguments.
        environment: All of it.
        output: Takes what the process writes.
        folder: Where it runs; None is the current one.
        inherited: File descriptors that stay open in it.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        pass_fds=inherited,
        process_group=0,
        preexec_fn=_end_with_parent,
    )


def stop_process(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a process and its children: first by asking, then, after some seconds, by force."""
    _signal_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)


def _end_with_parent() -> None:
    """Ask the kernel to send SIGTERM when the parent ends; for Popen's `preexec_fn`.

    Source: prctl(2), PR_SET_PDEATHSIG. The parent is the thread that starts the process.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def host_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process of ours: bounded threads, our packages, no surprises."""
    threads = str(len(os.sched_getaffinity(0)))
    path = [str(SOURCE_FOLDER), *filter(None, [environment.get("PYTHONPATH")])]
    return {
        # Idle OpenMP threads spin: more of them than cores make a step many times slower.
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MPLBACKEND": "Agg",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        **environment,
        "PYTHONPATH": os.pathsep.join(path),
        # `python -m` would import from the working folder first.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    """Return a port of loopback that no server listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free_port(port: int) -> bool:
    """Return whether a server can listen on 127.0.0.1 at `port`."""
    with socket.socket() as probe:
        # Like servers do: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True
