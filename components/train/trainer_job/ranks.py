"""The pods of a TrainJob as they are watched: their logs, what they wait for, and who failed first.

A rank that fails takes the others with it within seconds, and the JobSet then deletes the pods with
their logs. So everything is read while they live, and the first failure in time is the cause.
"""

import logging
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from components.kubernetes_api import RECONNECT_SECONDS, Cluster
from components.pod_troubles import containers_of, find_troubles, is_hopeless
from components.train_job import CONTAINER, pod_selector

logger = logging.getLogger(__name__)

RANK = "batch.kubernetes.io/job-completion-index"
ATTEMPT = "jobset.sigs.k8s.io/restart-attempt"
EVENTS = 3
KEPT_LINES = 40
LONGEST_CLAUSE = 400
# What a rank says when it has lost another one.
_LOST_ANOTHER = re.compile(
    r"closed by peer|reset by peer|Broken pipe|Connection refused|NCCL|store.*timed? ?out", re.I
)


@dataclass(frozen=True)
class Failure:
    """A pod that failed; `moment` has whole seconds, `turn` is the order in which we saw them."""

    moment: str
    lost_another: bool
    turn: int
    attempt: int
    clause: str


@dataclass
class Log:
    """What was read of a pod's log: until when, and its end."""

    until: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    error: str = ""

    def add(self, text: str) -> Iterator[str]:
        """Take in a log with timestamps; yield the lines that are new."""
        for entry in text.splitlines():
            moment, _, line = entry.partition(" ")
            if moment <= self.until:
                continue
            self.until = moment
            self.lines.append(line)
            # torchrun writes its own account below the error of a process.
            if line.startswith("error: ") and not self.error:
                self.error = line
            yield line


class Ranks:
    """The pods of one TrainJob, by name, of all attempts since this began to look."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, nodes: int) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._nodes = nodes
        self._logs: dict[str, Log] = {}
        self._ended: set[str] = set()
        self.pods: list[dict[str, Any]] = []
        self.failures: list[Failure] = []
        self.progressed = time.monotonic()

    def look(self, seconds: float) -> None:
        """Read pods and logs, then follow the pods for `seconds`, or until one ends."""
        selector = pod_selector(self._name)
        self.pods, version = self._cluster.pods(self._namespace, selector)
        ended = [pod for pod in self.pods if self._take(pod)]
        if not ended:
            started = time.monotonic()
            for pod in self._cluster.changed_pods(self._namespace, selector, version, seconds):
                if self._take(pod):
                    break
            else:  # not at once again, if the server ends all watches
                least = min(seconds, RECONNECT_SECONDS)
                time.sleep(max(0.0, started + least - time.monotonic()))
        for pod in self.pods:
            self._read_log(pod)

    def are_gone(self) -> bool:
        """Return whether no pod is left, of this job or of an earlier one of its name."""
        return not self._cluster.pods(self._namespace, pod_selector(self._name))[0]

    @property
    def attempt(self) -> int:
        """How often the set of pods has been started again."""
        return max((int(label_of(pod, ATTEMPT, "0")) for pod in self.pods), default=0)

    @property
    def running(self) -> int:
        """How many ranks run, or are done."""
        return sum(
            "running" in _state(pod) or _state(pod).get("terminated", {}).get("exitCode") == 0
            for pod in self.pods
        )

    def waiting_for(self) -> str:
        """Say why not all ranks run, as pods and events tell; '' if they do."""
        if self.running >= self._nodes:
            return ""
        waiting = [pod for pod in self.pods if not _state(pod).keys() & {"running", "terminated"}]
        clauses = [trouble.clause for trouble in find_troubles(waiting)]
        clauses += self._warnings() if len(self.pods) < self._nodes and not clauses else []
        counted = f"{self.running} of {self._nodes} nodes run"
        return "; ".join([counted, *dict.fromkeys(clauses[:EVENTS])])

    def is_hopeless(self) -> bool:
        """Return whether a pod waits for what will not come by itself."""
        return any(map(is_hopeless, self.pods))

    def cause(self) -> str:
        """Return what the first rank that failed in the last attempt failed of; '' if none did."""
        last = max((failure.attempt for failure in self.failures), default=0)
        found = [failure for failure in self.failures if failure.attempt == last]
        first = min(
            found,
            key=lambda item: (item.moment, item.lost_another, item.turn),
            default=None,
        )
        return first.clause if first else ""

    def last_line(self) -> str:
        """Return the last line of the first rank."""
        logs = [log for name, log in self._logs.items() if f"{self._name}-node-0-0-" in name]
        return logs[-1].lines[-1] if logs and logs[-1].lines else ""

    def _take(self, pod: dict[str, Any]) -> bool:
        """Take a look at a pod; return whether its container has ended since the last one."""
        name = pod["metadata"]["name"]
        ended = _state(pod).get("terminated")
        if ended is None or name in self._ended:
            return False
        self._ended.add(name)
        self.progressed = time.monotonic()
        self._read_log(pod)
        if ended.get("exitCode") != 0:
            self.failures.append(self._failure(pod, ended))
        return True

    def _read_log(self, pod: dict[str, Any]) -> None:
        name, rank = pod["metadata"]["name"], label_of(pod, RANK, "?")
        if not _state(pod).keys() & {"running", "terminated"}:
            return
        log = self._logs.setdefault(name, Log())
        text = self._cluster.log_since(self._namespace, name, CONTAINER, log.until)
        for line in log.add(text):
            logger.info("rank=%s %s", rank, line)
            self.progressed = time.monotonic()

    def _failure(self, pod: dict[str, Any], ended: dict[str, Any]) -> Failure:
        log = self._logs.get(pod["metadata"]["name"], Log())
        said = [line for line in str(ended.get("message", "")).splitlines() if line.strip()]
        error = log.error or next((line for line in said if line.startswith("error: ")), "")
        last = error or next(iter([*reversed(said), *reversed(log.lines)]), "")
        everything = "\n".join([*said, *log.lines])
        return Failure(
            moment=str(ended.get("finishedAt", "")),
            lost_another=not error and bool(_LOST_ANOTHER.search(everything)),
            turn=len(self.failures),
            attempt=int(label_of(pod, ATTEMPT, "0")),
            clause=_failure_clause(pod, ended, last)[:LONGEST_CLAUSE],
        )

    def _warnings(self) -> list[str]:
        """Return the latest warnings about the job and what it makes."""
        events = self._cluster.items(
            f"/api/v1/namespaces/{self._namespace}/events", fieldSelector="type=Warning"
        )
        ours = [
            event
            for event in events
            if re.fullmatch(
                rf"{self._name}(-node-0.*)?", event.get("involvedObject", {}).get("name", "")
            )
        ]
        ours.sort(key=lambda event: event.get("lastTimestamp") or "")
        return [f"{event.get('reason')}: {event.get('message')}" for event in ours[-EVENTS:]]


def label_of(pod: dict[str, Any], key: str, default: str) -> str:
    """Return a label of a pod."""
    return str(pod["metadata"].get("labels", {}).get(key, default))


def _state(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the container that trains."""
    for container in containers_of(pod):
        if container["name"] == CONTAINER:
            state: dict[str, Any] = container.get("state", {})
            return state
    return {}


def _failure_clause(pod: dict[str, Any], ended: dict[str, Any], last: str) -> str:
    rank = f"rank {label_of(pod, RANK, '?')}"
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return f"{rank} was evicted ({condition.get('message') or condition.get('reason')})"
    if ended.get("reason") == "OOMKilled":
        return f"{rank} ran out of memory; raise train_memory, or lower training.batch_size"
    said = f": {last.removeprefix('error: ')}" if last else ""
    return f"{rank} ended with exit code {ended.get('exitCode')}{said}"
