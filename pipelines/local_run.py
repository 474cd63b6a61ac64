"""Runs a compiled pipeline on this machine, and lays out its folder.

artifacts/<step>/<output>   what the steps made
configs/                    the parameters, the pipeline, the resolved training configuration
logs/<step>.log             what each step said; kfp.log is the orchestrator's
reports/, index.html        pages for a browser
run.json                    steps, artifacts with digests, parameters, versions
tensorboard                 the training events
"""

import contextlib
import datetime
import logging
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TextIO

import yaml

from pipelines.compilation import SEGMENTATION_YAML
from pipelines.docker_runner import DockerRunner
from pipelines.host_runner import HostRunner
from pipelines.local_orchestrator import ARTIFACTS, LOGS, LocalOrchestrator, StepObserver
from pipelines.parameters import checked_parameters, load_pipeline
from pipelines.run_page import write_run_page
from pipelines.run_record import ArtifactRecord, RunRecord, State, StepRecord
from pipelines.source_revision import source_revision
from pipelines.step_display import StepDisplay
from segmentor.errors import ConfigError, SegmentorError
from segmentor.object_store import is_object_uri

Runner = Literal["host", "docker"]

CONFIGS = "configs"
# An embedded object store may run here already: its data belong to the run.
STORE = "store"
PATH_PARAMETERS = ("source", "images", "label_map")


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
    """Runs a pipeline and returns its record, which run.json and index.html hold too.

    Args:
        runner: `host` (processes of this environment) or `docker` (the container images).
        parameters: Values by name; texts are read as the parameter's type says. Relative paths in
            `source`, `images` and `label_map` are taken from the working folder.
        folder: The run folder; it must not hold a run yet.
        pipeline: The compiled pipeline.
        environment: What steps get (S3 credentials among it); None takes this process's own.
        stream: Takes a line a step; None is standard error.

    Raises:
        ConfigError: an unknown parameter, a wrong value, or a folder in use.
        RunFailedError: a step failed; run.json and index.html are written all the same.
    """
    values = _absolute_paths(checked_parameters(pipeline, parameters))
    folder = _prepared_folder(folder)
    _write_configs(folder, pipeline, values)
    environment = os.environ if environment is None else environment
    inputs = [Path(values[name]) for name in PATH_PARAMETERS if _is_path(values.get(name))]
    steps = DockerRunner(environment, inputs) if runner == "docker" else HostRunner(environment)
    specification = load_pipeline(pipeline)
    recorder = _Recorder(
        RunRecord(
            folder=folder,
            pipeline=specification["pipelineInfo"]["name"],
            runner=runner,
            state="running",
            started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=0.0,
            parameters=values,
            versions=_versions(),
            steps=(),
            artifacts=(),
        ),
        StepDisplay(stream or sys.stderr),
    )
    state: State = "interrupted"
    try:
        with _logging_to(folder / LOGS / "kfp.log"), _stopping_on_signals(steps):
            done = LocalOrchestrator(folder, steps, recorder).run(specification, values)
            state = "done" if done else "failed"
    finally:
        record = recorder.end(state)
        write_run_page(record)
    for step in record.steps:
        if step.state == "failed":
            raise RunFailedError(record, step)
    return record


def new_run_folder(base: Path = Path("outputs")) -> Path:
    """Returns a folder name that is not in use: <base>/<DATE>/<TIME>."""
    now = datetime.datetime.now()
    folder = base / now.strftime("%Y-%m-%d") / now.strftime("%H-%M-%S")
    count = 1
    while folder.exists():
        count += 1
        folder = folder.with_name(f"{now:%H-%M-%S}-{count}")
    return folder


class _Recorder(StepObserver):
    """Keeps run.json up to date and passes what happens on to the display."""

    def __init__(self, record: RunRecord, display: StepDisplay) -> None:
        self._record = record
        self._display = display
        self._start = time.monotonic()
        record.write()

    def started(self, step: str, log: Path) -> None:
        self._display.started(step, log)

    def finished(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        self._display.finished(record, artifacts)
        self._record = replace(
            self._record,
            steps=(*self._record.steps, record),
            artifacts=(*self._record.artifacts, *artifacts),
            seconds=round(time.monotonic() - self._start, 3),
        )
        _link_training(self._record.folder, record.name)
        self._record.write()

    def end(self, state: State) -> RunRecord:
        self._display.close()
        seconds = round(time.monotonic() - self._start, 3)
        self._record = replace(self._record, state=state, seconds=seconds)
        self._record.write()
        return self._record


def _absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    paths = {
        name: str(Path(values[name]).expanduser().absolute())
        for name in PATH_PARAMETERS
        if _is_path(values.get(name))
    }
    return {**values, **paths}


def _is_path(value: Any) -> bool:
    return bool(value) and not is_object_uri(value)


def _prepared_folder(folder: Path) -> Path:
    folder = folder.absolute()
    if folder.exists() and any(path.name != STORE for path in folder.iterdir()):
        raise ConfigError(str(folder), "a folder that is not empty", "a new one for each run")
    for name in (ARTIFACTS, CONFIGS, LOGS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def _write_configs(folder: Path, pipeline: Path, values: Mapping[str, Any]) -> None:
    shutil.copyfile(pipeline, folder / CONFIGS / "pipeline.yaml")
    text = yaml.safe_dump(dict(values), sort_keys=True)
    (folder / CONFIGS / "parameters.yaml").write_text(text, encoding="utf-8")


def _link_training(folder: Path, step: str) -> None:
    """Shows training's configuration and events where people look for them."""
    if step != "train":
        return
    config = folder / ARTIFACTS / step / "checkpoint" / "config.yaml"
    if config.is_file():
        shutil.copyfile(config, folder / CONFIGS / "training.yaml")
    if (folder / ARTIFACTS / step / "logs").is_dir():
        (folder / "tensorboard").symlink_to(Path(ARTIFACTS, step, "logs"))


def _versions() -> dict[str, str]:
    return {
        "segmentor": version("segmentor"),
        "kfp": version("kfp"),
        "python": platform.python_version(),
        "git_revision": source_revision() or "unknown",
    }


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Sends the root logger, which kfp.local writes to, into a file."""
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
    """Ends the steps on Ctrl-C and SIGTERM: kfp's own threads would wait for them."""
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
