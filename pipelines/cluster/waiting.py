"""Waits for a run on Kubeflow Pipelines, and says how each step ended and why one did not."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from components.cli import EXIT_INTERRUPTED
from pipelines.cluster.client import ServerError, answering
from pipelines.cluster.step_pods import StepPods, Trouble, read_settings
from pipelines.cluster.ui_server import UiServer
from segmentor.errors import SegmentorError

if TYPE_CHECKING:
    from kfp import Client

SECONDS_BETWEEN_LOOKS = 5.0
# How long the endpoint may be away: the time in which a control plane is upgraded.
SECONDS_AWAY = 600.0
_ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_CLIENT_ERRORS = range(400, 500)
_PASSING = (408, 429)


@dataclass(frozen=True)
class WatchedRun:
    """A run that is waited for; `look_again` is the command that waits again."""

    run_id: str
    link: str
    look_again: str


def wait_for_run(
    client: "Client", watched: WatchedRun, pipeline: Path, server: UiServer, stream: TextIO
) -> str:
    """Wait until a run has ended; write a line for each step that has ended.

    Args:
        client: Of Kubeflow Pipelines.
        watched: The run.
        pipeline: The compiled pipeline that it runs.
        server: Says what its pods do.
        stream: Takes the lines.

    Returns:
        The state in which it ended.

    Raises:
        ServerError: the endpoint was away for too long, or refuses.
        SegmentorError: the run failed or was cancelled.
        SystemExit: interrupted; the run continues.
    """
    settings = read_settings(pipeline)
    steps = _Steps(set(settings), stream)
    pods = StepPods(server, settings)
    try:
        while (run := _look(client, watched, stream)).state not in _ENDED:
            steps.show(_tasks(run))
            for step, trouble in pods.troubles(_tasks(run)):
                steps.show_trouble(step, trouble)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        steps.clear()
        stream.write(f"no longer waiting; the run continues: {watched.link}\n")
        stream.write(f"wait again with: {watched.look_again}\n")
        raise SystemExit(EXIT_INTERRUPTED) from None
    steps.show(_tasks(run))
    if run.state != "SUCCEEDED":
        stream.write(f"the run ended as {run.state}: {watched.link}\n")
        raise _failure(run, watched, steps, pods)
    return str(run.state)


def _tasks(run: Any) -> Sequence[Any]:
    return (run.run_details.task_details if run.run_details else None) or []


@dataclass
class _Steps:
    """The steps of a run; a step of a loop has a number behind its name from the second on."""

    names: set[str]
    stream: TextIO
    labels: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    troubles: set[tuple[str, str]] = field(default_factory=set)

    def show(self, tasks: Sequence[Any]) -> None:
        """Write a line for each step that has ended; on a terminal also name those that run."""
        self.clear()
        running = []
        for label, task in self.labelled(tasks):
            if task.state in _ENDED and label not in self.ended:
                self.ended.add(label)
                self.stream.write(f"{label:<16} {task.state.lower():<10} {_seconds(task)}".rstrip())
                self.stream.write("\n")
            elif task.state not in _ENDED:
                running.append(label)
        if running and self.stream.isatty():
            self.stream.write(f"running: {', '.join(running)}")
        self.stream.flush()

    def show_trouble(self, step: str, trouble: Trouble) -> None:
        if (step, trouble.kind) not in self.troubles:
            self.troubles.add((step, trouble.kind))
            self.clear()
            self.stream.write(f"{step:<16} {trouble}\n")
            self.stream.flush()

    def clear(self) -> None:
        """Remove the line that names what runs."""
        if self.stream.isatty():
            self.stream.write("\r\033[K")

    def labelled(self, tasks: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        """Yield the tasks that are steps: each has the same label at every look."""
        for task in tasks:
            if task.display_name not in self.names:
                continue  # a driver, an executor, or a group
            if task.task_id not in self.labels:
                same = Counter(label.split(" ")[0] for label in self.labels.values())
                count = same[task.display_name]
                number = f" {count + 1}" if count else ""
                self.labels[task.task_id] = task.display_name + number
            yield self.labels[task.task_id], task


def _failure(run: Any, watched: WatchedRun, steps: _Steps, pods: StepPods) -> SegmentorError:
    """Return the error that says which steps failed, and why, in their own words."""
    tasks = _tasks(run)
    failed = [task.display_name for _, task in steps.labelled(tasks) if task.state == "FAILED"]
    drivers = [
        task.display_name.removesuffix("-driver")
        for task in tasks
        if task.state == "FAILED" and task.display_name.removesuffix("-driver") in steps.names
    ]
    said = [
        (step, "; ".join(pods.causes(step, tasks)) or f"failed; see {pods.kubectl_line(step)}")
        for step in dict.fromkeys([*failed, *drivers])
    ]
    if not said:
        return SegmentorError(watched.link, f"the run ended as {run.state}", "SUCCEEDED")
    (step, cause), *others = said
    return SegmentorError(step, "; ".join([cause, *(f"{name}: {text}" for name, text in others)]))


def _look(client: "Client", watched: WatchedRun, stream: TextIO) -> Any:
    """Read a run; an endpoint that is away for some minutes does not end the waiting."""
    since: float | None = None
    while True:
        try:
            with answering(watched.link):
                return client.get_run(watched.run_id)
        except ServerError as error:
            now = time.monotonic()
            if since is None:
                since = now
                if _can_pass(error):
                    stream.write(
                        f"no answer; asking for {SECONDS_AWAY / 60:.0f} minutes, the run continues "
                        f"(forward the port again if that ended; {error.found})\n"
                    )
                    stream.flush()
            if not _can_pass(error) or now - since >= SECONDS_AWAY:
                raise ServerError(
                    error.where,
                    error.found,
                    error.expected,
                    f"the run continues; wait again with: {watched.look_again}",
                ) from error
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _can_pass(error: ServerError) -> bool:
    """Return True unless the server is there and refuses, or something else answers."""
    cause = error.__cause__
    status = getattr(cause, "status", None)
    if status:
        return status not in _CLIENT_ERRORS or status in _PASSING
    return not isinstance(cause, AttributeError | TypeError | ValueError)


def _seconds(task: Any) -> str:
    start, end = task.start_time, task.end_time
    # KFP writes the year 1970 for a time that it does not know.
    if not isinstance(start, datetime) or not isinstance(end, datetime) or start.year < 2000:
        return ""
    return f"{(end - start).total_seconds():.0f} s"
