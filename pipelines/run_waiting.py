"""Waits for a run on Kubeflow Pipelines and shows what its steps do meanwhile."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from components.cli import EXIT_INTERRUPTED
from pipelines.cluster_client import ServerError, answering
from pipelines.parameters import load_pipeline
from segmentor.errors import SegmentorError

if TYPE_CHECKING:
    from kfp import Client

SECONDS_BETWEEN_LOOKS = 5.0
LOST_ANSWERS = 12  # in a row, until waiting is given up
_ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")


def wait_for_run(client: "Client", run_id: str, link: str, pipeline: Path, stream: TextIO) -> str:
    """Waits until a run has ended; writes a line whenever a step's state changes.

    Returns:
        The state in which it ended.

    Raises:
        ServerError: the endpoint was away for too long.
        SegmentorError: the run failed or was cancelled.
        SystemExit: interrupted; the run goes on.
    """
    steps = _Steps(_step_names(load_pipeline(pipeline)), stream)
    try:
        while (run := _look(client, run_id, link)).state not in _ENDED:
            steps.show(run)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        stream.write(f"no longer waiting; the run goes on: {link}\n")
        raise SystemExit(EXIT_INTERRUPTED) from None
    steps.show(run)
    if run.state != "SUCCEEDED":
        failed = "; ".join(steps.failures(run)) or _message(run)
        raise SegmentorError(link, f"the run ended as {run.state}", "SUCCEEDED", failed)
    return str(run.state)


@dataclass
class _Steps:
    """The states of steps as they were last shown; a step of a loop has a number behind it."""

    names: set[str]
    stream: TextIO
    labels: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def show(self, run: Any) -> None:
        for label, task in self.labelled(run):
            if task.state and self.states.get(label) != task.state:
                self.states[label] = task.state
                self.stream.write(f"{label:<16} {task.state.lower()}\n")
                self.stream.flush()

    def failures(self, run: Any) -> list[str]:
        return [
            label + _message(task) for label, task in self.labelled(run) if task.state == "FAILED"
        ]

    def labelled(self, run: Any) -> Iterator[tuple[str, Any]]:
        """Yields the tasks that are steps: each has the same label at every look."""
        for task in (run.run_details.task_details if run.run_details else None) or []:
            if task.display_name not in self.names:
                continue  # a driver, or a group
            if task.task_id not in self.labels:
                same = Counter(label.split(" ")[0] for label in self.labels.values())
                count = same[task.display_name]
                number = f" {count + 1}" if count else ""
                self.labels[task.task_id] = task.display_name + number
            yield self.labels[task.task_id], task


def _look(client: "Client", run_id: str, link: str) -> Any:
    """Reads a run; an endpoint that is away for a while does not end the waiting."""
    lost = 0
    while True:
        try:
            with answering(link):
                return client.get_run(run_id)
        except ServerError:
            lost += 1
            if lost > LOST_ANSWERS:
                raise
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _step_names(specification: Mapping[str, Any]) -> set[str]:
    """Returns the names of all tasks that run a container, in whatever group they lie."""
    components = specification["components"]
    graphs = [specification["root"], *components.values()]
    return {
        task["taskInfo"]["name"]
        for graph in graphs
        for task in graph.get("dag", {}).get("tasks", {}).values()
        if "executorLabel" in components[task["componentRef"]["name"]]
    }


def _message(item: Any) -> str:
    return f": {item.error.message}" if item.error and item.error.message else ""
