"""Runs each container command as a process of this environment: no Docker, same command."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from pipelines.local.step_runner import StepCommand
from pipelines.processes import host_environment, start_process, stop_process

SECONDS_TO_STOP = 10.0
SECONDS_BETWEEN_LOOKS = 0.1
_PYTHON_NAMES = ("python", "python3")


class HostRunner:
    """Run commands as processes; they find the project's packages wherever they are started."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Create the runner; `environment` is what the processes get, credentials included."""
        self._environment = host_environment(environment)
        self._stopping = threading.Event()

    def run(self, step: StepCommand) -> int:
        """Run the command in the run folder, its output into the log; return its exit code.

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
                # a pipe open, and the run with it.
                process = start_process(
                    [executable, *arguments],
                    {**self._environment, **step.environment},
                    log,
                    folder=step.folder,
                )
            except OSError as error:
                log.write(f"error: {executable}: {error.strerror}\n".encode())
                return 127
        try:
            return _exit_code(self._wait(process))
        finally:
            stop_process(process, SECONDS_TO_STOP)

    def stop(self) -> None:
        """Stop every running command; later ones do not start."""
        self._stopping.set()

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while not self._stopping.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(SECONDS_BETWEEN_LOOKS)
        stop_process(process, SECONDS_TO_STOP)
        return process.wait()


def _exit_code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned
