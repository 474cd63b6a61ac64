"""Runs each container command as a process of this environment: no Docker, same command."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.process_lifetime import end_with_parent
from pipelines.step_runner import StepCommand

SOURCE_FOLDER = Path(__file__).resolve().parent.parent
SECONDS_TO_STOP = 10.0
SECONDS_BETWEEN_LOOKS = 0.1
_PYTHON_NAMES = ("python", "python3")


class HostRunner:
    """Runs commands as processes; they find the project's packages wherever they are started."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Makes the runner; `environment` is what the processes get, credentials included."""
        self._environment = host_environment(environment)
        self._stopping = threading.Event()

    def run(self, step: StepCommand) -> int:
        """Runs the command in the run folder, its output into the log; returns its exit code.

        Whatever ends this (a failure, Ctrl-C), no process of the command is left: a thread starts
        it and sees it to its end. Python raises what a signal asks for in the main thread, where it
        could fall between the start of the process and the first line that knows of it.
        """
        with ThreadPoolExecutor(1, "step") as thread:
            running = thread.submit(self._run, step)
            try:
                return running.result()
            finally:
                if not running.done():
                    self.stop()

    def _run(self, step: StepCommand) -> int:
        executable, *arguments = step.command
        if executable in _PYTHON_NAMES:
            executable = sys.executable
        step.log.parent.mkdir(parents=True, exist_ok=True)
        with step.log.open("ab") as log:
            try:
                # A log file rather than a pipe: a grandchild that outlives the command would hold
                # a pipe open, and the run with it. An own group: so that it is ended too.
                process = subprocess.Popen(
                    [executable, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=step.folder,
                    env={**self._environment, **step.environment},
                    process_group=0,
                    # Nor may it outlive us when we are killed: the next run would meet it.
                    preexec_fn=end_with_parent,
                )
            except OSError as error:
                log.write(f"error: {executable}: {error.strerror}\n".encode())
                return 127
        try:
            return _exit_code(self._wait(process))
        finally:
            _end_group(process)

    def stop(self) -> None:
        """Stops every running command; later ones do not start."""
        self._stopping.set()

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while not self._stopping.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(SECONDS_BETWEEN_LOOKS)
        _end_group(process)
        return process.wait()


def host_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a step's process: bounded threads, our packages, no surprises."""
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


def _exit_code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and all it started: first by asking, then by force."""
    _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + SECONDS_TO_STOP
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS / 2)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)
