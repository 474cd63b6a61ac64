"""The one seam to kfp.local: its orchestrator runs the graph, our runners run the commands.

kfp.local refuses container components without Docker and has no hook to change that
(docs/decisions/0010-kfp-local-seam.md), so seven of its module attributes are replaced while a run
lasts. pyproject.toml pins the kfp versions for which this holds, and
tests/pipelines/local/test_local_run.py shows it.
"""

import contextlib
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pipelines.local.kept_steps import (
    KeptStep,
    KeptSteps,
    artifact_digest,
    clear_for_a_new_attempt,
    command_digest,
)
from pipelines.local.step_failure import read_failure, remove_partial_outputs
from pipelines.local.step_runner import StepCommand, StepRunner
from segmentor.errors import SegmentorError
from segmentor.run_record import ArtifactRecord, RunRecord, State, StepRecord

ARTIFACTS = "artifacts"
LOGS = "logs"
INTERRUPTED: Literal["interrupted"] = "interrupted"
_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+)'\]\}\}")


class StepObserver:
    """Receives the start and end of each step; this base class ignores them."""

    def started(self, step: str, log: Path) -> None:
        """A step's command is about to start."""

    def finished(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        """A step is done or has failed."""

    def kept(self, record: StepRecord, artifacts: list[ArtifactRecord]) -> None:
        """A step was done in an earlier run of this folder, and is not run again."""


class LocalOrchestrator:
    """One run of a pipeline by kfp.local in one folder."""

    def __init__(
        self,
        folder: Path,
        runner: StepRunner,
        observer: StepObserver,
        earlier: RunRecord | None = None,
    ) -> None:
        """Prepare a run; `folder` takes its artifacts and logs, and may hold an earlier one's."""
        self._folder = folder
        self._runner = runner
        self._observer = observer
        self._kept = KeptSteps(earlier)
        self._lock = threading.Lock()
        self._has_failed = False
        self._current = threading.local()  # loops run their iterations in threads

    def run(self, specification: dict[str, Any], parameters: dict[str, Any]) -> bool:
        """Run a compiled pipeline; return whether every step is done.

        Args:
            specification: The first document of the compiled YAML.
            parameters: A value for every parameter.
        """
        from google.protobuf import json_format
        from kfp import local
        from kfp.local import config, pipeline_orchestrator
        from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

        message = json_format.ParseDict(specification, PipelineSpec())
        _run_loops_one_by_one(message)
        with self._replaced_parts():
            local.init(
                local.SubprocessRunner(use_venv=False),
                pipeline_root=str(self._folder),
                raise_on_error=False,
            )
            try:
                pipeline_orchestrator.run_local_pipeline(message, parameters)
            finally:
                # Otherwise every component called later in this process would run at once.
                config.LocalExecutionConfig.instance = None
        return not self._has_failed

    @contextlib.contextmanager
    def _replaced_parts(self) -> Iterator[None]:
        from kfp.local import (
            executor_input_utils,
            logging_utils,
            subprocess_task_handler,
            task_dispatcher,
        )

        original = task_dispatcher.run_single_task_implementation
        with contextlib.ExitStack() as stack:
            for module, name, value in (
                (task_dispatcher, "run_single_task_implementation", self._dispatch(original)),
                (subprocess_task_handler, "SubprocessTaskHandler", self._handler),
                # artifacts/<step>/<output> instead of <pipeline>-<time>/<component>/<output>
                (executor_input_utils, "construct_local_task_root", self._task_root),
                (executor_input_utils, "get_local_task_resource_name", _step_of),
                # kfp swaps builtins.print and the root logger's handlers, which no thread survives
                (logging_utils, "indented_print", contextlib.nullcontext),
                (logging_utils, "local_logger_context", contextlib.nullcontext),
                (logging_utils, "print_horizontal_line", lambda: None),
            ):
                stack.enter_context(_replaced(module, name, value))
            # kfp warns that resources and display names have no effect in a local run.
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="Task .* no effect")
            yield

    def _dispatch(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap kfp's dispatcher of one task: names the step, times it, records what it made."""
        from google.protobuf.json_format import ParseError
        from kfp.local.status import Status

        def dispatch(**arguments: Any) -> Any:
            step = _scoped(arguments["pipeline_resource_name"], arguments["component_name"])
            log = Path(LOGS) / f"{step}.log"
            definition = arguments["component_spec"]
            if self._has_failed:
                return {}, Status.FAILURE  # kfp.local would run what does not depend on it
            self._current.__dict__.update(
                step=step, exit_code=None, error="", task=arguments, command="", kept=None
            )
            self._observer.started(step, self._folder / log)
            start = time.monotonic()
            outputs: dict[str, Any] = {}
            error: str = INTERRUPTED  # unless what follows says otherwise
            try:
                outputs, status = original(**arguments)
                error = self._current.error or _missing_output(definition, outputs, status)
            except (ValueError, KeyError, ParseError) as problem:
                error = f"outputs that KFP cannot read ({problem})"
            except SegmentorError as problem:
                error = str(problem)
            finally:
                self._report(step, log, time.monotonic() - start, error, outputs)
            return outputs, Status.FAILURE if error else Status.SUCCESS

        return dispatch

    def _task_root(
        self, pipeline_root: str, pipeline_resource_name: str, task_resource_name: str
    ) -> str:
        return str(self._folder / ARTIFACTS / _scoped(pipeline_resource_name, task_resource_name))

    def _handler(self, **task: Any) -> "_TaskHandler":
        return _TaskHandler(lambda: self._run_command(task["image"], task["full_command"], task))

    def _run_command(self, image: str, command: list[str], task: dict[str, Any]) -> int:
        step = self._current.step
        task_root = self._folder / ARTIFACTS / step
        log = self._folder / LOGS / f"{step}.log"
        step_command = StepCommand(
            step=step,
            image=_resolved_image(image, self._current.task["arguments"]),
            command=tuple(command),
            environment=dict(task["env_vars"] or {}),
            folder=self._folder,
            log=log,
        )
        self._current.command = command_digest(step_command)
        # A step without artifacts has nothing to keep: it looks at what may have changed.
        if self._current.task["component_spec"].output_definitions.artifacts:
            self._current.kept = self._kept.find(step_command)
        if self._current.kept is not None:
            return 0
        # The cluster's launcher makes the folder; kfp.local does not.
        clear_for_a_new_attempt(task_root, log)
        try:
            exit_code = self._runner.run(step_command)
        finally:
            remove_partial_outputs(task_root)
        self._current.exit_code = exit_code
        self._current.error = read_failure(exit_code, log) if exit_code else ""
        return exit_code

    def _report(
        self, step: str, log: Path, seconds: float, error: str, outputs: dict[str, Any]
    ) -> None:
        kept: KeptStep | None = self._current.kept
        if kept is not None and not error:
            with self._lock:
                self._observer.kept(kept.record, kept.artifacts)
            return
        artifacts = [] if error else self._artifacts(step, outputs)
        state: State = "done" if not error else INTERRUPTED if error == INTERRUPTED else "failed"
        record = StepRecord(
            step,
            state,
            round(seconds, 3),
            self._current.exit_code,
            error,
            str(log),
            self._current.command,
        )
        with self._lock:
            self._has_failed = self._has_failed or bool(error)
            self._observer.finished(record, artifacts)

    def _artifacts(self, step: str, outputs: dict[str, Any]) -> list[ArtifactRecord]:
        from kfp import dsl

        records = []
        for name, output in sorted(outputs.items()):
            if isinstance(output, dsl.Artifact):
                path = Path(output.uri)
                records.append(
                    ArtifactRecord(
                        step=step,
                        output=name,
                        type=output.schema_title,
                        path=path.relative_to(self._folder).as_posix(),
                        digest=artifact_digest(path),
                        metadata=dict(output.metadata),
                    )
                )
        return records


class _TaskHandler:
    """The object that kfp.local calls to run one task."""

    def __init__(self, run: Callable[[], int]) -> None:
        self._run = run

    def run(self) -> Any:
        from kfp.local.status import Status

        return Status.SUCCESS if self._run() == 0 else Status.FAILURE


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _step_of(component_name: str) -> str:
    return component_name.removeprefix("comp-").replace("-", "_")


def _scoped(resource_name: str, component_name: str) -> str:
    """Return <loop iteration>/<step>; the resource name is <pipeline>-<time>/<loop iteration>."""
    return "/".join([*resource_name.split("/")[1:], _step_of(component_name)])


def _run_loops_one_by_one(pipeline: Any) -> None:
    """Limit every loop to one iteration at a time: on one machine they share the cores."""
    for component in [pipeline.root, *pipeline.components.values()]:
        for task in component.dag.tasks.values():
            if task.WhichOneof("iterator"):
                task.iterator_policy.parallelism_limit = 1


def _missing_output(definition: Any, outputs: dict[str, Any], status: Any) -> str:
    """Return which declared output a step did not write; a cluster would only warn."""
    if status.name != "SUCCESS":
        return ""
    for name in definition.output_definitions.artifacts:
        if name not in outputs:
            return f"output {name} is not in its ExecutorOutput; is --executor-input passed?"
        if not Path(outputs[name].uri).exists():
            return f"output {name} was not written to {outputs[name].uri}"
    return ""


def _resolved_image(image: str, arguments: dict[str, Any]) -> str:
    """Return the container image; kfp.local leaves one that is a parameter unresolved."""
    match = _PARAMETER.fullmatch(image)
    return str(arguments[match[1]]) if match else image
