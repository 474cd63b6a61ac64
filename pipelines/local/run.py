"""Runs a compiled pipeline on this machine, in a folder of its own (see `run_folder`)."""

import contextlib
import datetime
import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from pipelines.compilation import SEGMENTATION_YAML
from pipelines.local.docker_runner import DockerRunner
from pipelines.local.folder import Runner, RunPlan, link_training, plan_run, prepared_folder
from pipelines.local.host_runner import HostRunner
from pipelines.local.orchestrator import LOGS, LocalOrchestrator, StepObserver
from pipelines.local.progress_lines import StepDisplay
from pipelines.parameters import load_pipeline
from pipelines.runs.page import write_run_page
from pipelines.source_revision import source_revision
from segmentor.errors import SegmentorError
from segmentor.run_record import ArtifactRecord, RunRecord, State, StepRecord

# kfp.local's configuration, what the orchestrator replaces of it, and the root logger's handlers
# belong to the whole process.
_ONE_RUN_AT_A_TIME = threading.Lock()


class RunFailedError(SegmentorError):
    """A step of a run failed; `record` is what run.json says."""

    def __init__(self, record: RunRecord, step: StepRecord) -> None:
        self.record = record
        log = record.folder / step.log
        super().__init__(step.name, step.error, remedy=f"its log is {log}" if log.is_file() else "")

    def __reduce__(self) -> Any:
        return type(self), (self.record, next(s for s in self.record.steps if s.error))


def run_local(
    runner: Runner,
    parameters: Mapping[str, Any],
    folder: Path,
    *,
    pipeline: Path = SEGMENTATION_YAML,
    environment: Mapping[str, str] | None = None,
    stream: TextIO | None = None,
) -> RunRecord:
    """Run a pipeline and return its record, which run.json and index.html hold too.

    Args:
        runner: `host` (processes of this environment) or `docker` (the container images).
        parameters: Values by name; texts are read as the parameter's type says. Relative paths in
            `source`, `images` and `label_map` are taken from the working folder.
        folder: The run folder. One that holds a run of the same pipeline and files that
            was interrupted or has failed is continued: finished steps are kept.
        pipeline: The compiled pipeline.
        environment: What steps get (S3 credentials among it); None takes this process's own.
        stream: Takes a line a step; None is standard error.

    Raises:
        ConfigError: an unknown parameter, a wrong value, or a folder in use.
        RunFailedError: a step failed; run.json and index.html are written all the same.
    """
    return run_planned(plan_run(runner, parameters, folder, pipeline), environment, stream)


def run_planned(
    plan: RunPlan,
    environment: Mapping[str, str] | None = None,
    stream: TextIO | None = None,
) -> RunRecord:
    """Run what `plan_run` checked; see `run_local`."""
    environment = os.environ if environment is None else environment
    is_docker = plan.runner == "docker"
    steps = DockerRunner(environment, plan.paths) if is_docker else HostRunner(environment)
    with prepared_folder(plan):
        record = _run(plan, steps, StepDisplay(stream or sys.stderr))
    for step in record.steps:
        if step.state == "failed":
            raise RunFailedError(record, step)
    return record


def _run(plan: RunPlan, steps: HostRunner | DockerRunner, display: StepDisplay) -> RunRecord:
    specification = load_pipeline(plan.pipeline)
    recorder = _Recorder(_new_record(plan, specification), plan.earlier, display)
    orchestrator = LocalOrchestrator(plan.folder, steps, recorder, plan.earlier)
    state: State = "interrupted"
    try:
        with (
            _stopping_on_signals(steps),
            _ONE_RUN_AT_A_TIME,
            _logging_to(plan.folder / LOGS / "kfp.log"),
        ):
            state = "done" if orchestrator.run(specification, plan.values) else "failed"
    finally:
        record = recorder.end(state)
        write_run_page(record)
    return record


def _new_record(plan: RunPlan, specification: Mapping[str, Any]) -> RunRecord:
    return RunRecord(
        folder=plan.folder,
        pipeline=specification["pipelineInfo"]["name"],
        runner=plan.runner,
        state="running",
        started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        seconds=0.0,
        parameters=plan.values,
        versions=_versions(),
        steps=(),
        artifacts=(),
        inputs=plan.inputs,
    )


class _Recorder(StepObserver):
    """Keep run.json up to date and pass what happens on to the display.

    The results of an earlier run in this folder stay in the record until a step runs again.
    """

    def __init__(self, record: RunRecord, earlier: RunRecord | None, display: StepDisplay) -> None:
        self._record = record
        self._earlier = earlier
        self._display = display
        self._start = time.monotonic()
        self._write()

    def started(self, step: str, log: Path) -> None:
        self._display.started(step, log)

    def finished(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        self._display.finished(record, artifacts)
        self._earlier = None
        self._add(record, artifacts)

    def kept(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        self._display.kept(record, artifacts)
        self._add(record, artifacts)

    def end(self, state: State) -> RunRecord:
        self._display.close()
        self._record = replace(self._record, state=state)
        return self._write()

    def _add(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        self._record = replace(
            self._record,
            steps=(*self._record.steps, record),
            artifacts=(*self._record.artifacts, *artifacts),
        )
        link_training(self._record.folder, record.name)
        self._write()

    def _write(self) -> RunRecord:
        seconds = round(time.monotonic() - self._start, 3)
        self._record = replace(self._record, seconds=seconds)
        written = self._record
        if self._earlier is not None:
            seen = {step.name for step in written.steps}
            done = [s for s in self._earlier.steps if s.state == "done" and s.name not in seen]
            names = {step.name for step in done}
            made = [item for item in self._earlier.artifacts if item.step in names]
            written = replace(
                written,
                steps=(*written.steps, *done),
                artifacts=(*written.artifacts, *made),
            )
        written.write()
        return written


def _versions() -> dict[str, str]:
    return {
        "segmentor": version("segmentor"),
        "kfp": version("kfp"),
        "python": platform.python_version(),
        "git_revision": source_revision() or "unknown",
    }


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Redirect the root logger, which kfp.local uses, into a file."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        handler.close()


@contextlib.contextmanager
def _stopping_on_signals(runner: HostRunner | DockerRunner) -> Iterator[None]:
    """End the steps on Ctrl-C and SIGTERM; otherwise kfp's threads would wait for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        runner.stop()
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signum)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
