"""A workflow as Argo runs it and KFP's API and UI server describe it: nodes, pods, logs, events.

Stands for Argo 4.0.5, KFP's API server and its UI server; seen on a cluster with kubeflow/pipelines
7b70c7b (after 2.17.0), and read there in frontend/server/handlers/pod-{info,logs}.ts.

The API names a node by its display name alone. A node's id is <workflow>-<hash>, and is only seen
among its parent's children; a pod is named <workflow>-<template>-<hash>. A step is a driver and an
executor, and the controller's retryStrategy gives each of them one child an attempt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

TEMPLATE = "metadata-0-2-system-container-impl"
DRIVER_TEMPLATE = "system-container-driver"
# KFP's word for a time that it does not know.
NO_TIME = "1970-01-01T00:00:00Z"
LAUNCHER = (
    "I1130 20:15:01.123456      12 launcher_v2.go:190] publish success.",
    "F1130 20:15:02.123456      12 main.go:58] failed to execute component: exit status 3",
)


@dataclass
class Pod:
    """A pod: what Kubernetes says of it, and what its containers wrote."""

    labels: dict[str, str]
    status: dict[str, Any]
    log: str
    events: Sequence[dict[str, Any]]


@dataclass
class Workflow:
    """Nodes of one look at a run, added step by step; `retries` as KFP's controller has it."""

    name: str = "segmentation-m4h5w"
    retries: bool = True
    details: list[dict[str, Any]] = field(default_factory=list)
    pods: dict[str, Pod] = field(default_factory=dict)

    def step(
        self,
        name: str,
        state: str,
        *,
        log: str = "",
        status: dict[str, Any] | None = None,
        events: Sequence[dict[str, Any]] = (),
        seconds: int = 12,
        attempts: int = 1,
    ) -> "Workflow":
        """Add the nodes of a step and its pods; the last attempt has the state."""
        own = f"{len(self.details)}.{name}"
        self._node(f"{name}-driver", "SUCCEEDED", [f"{own}-driver(0)"], 3)
        if self.retries:
            self._node(f"{name}-driver(0)", "SUCCEEDED", [own], 3)
        self._node(name, state, [f"{own}.executor"], seconds)
        turns = [f"{own}.executor({turn})" for turn in range(attempts)]
        self._node("executor", state, turns if self.retries else [], seconds)
        for turn in turns if self.retries else [f"{own}.executor"]:
            is_last = turn == turns[-1] or not self.retries
            if self.retries:
                self._node(
                    f"executor({turns.index(turn)})", state if is_last else "FAILED", [], seconds
                )
            number = self._id(turn).rpartition("-")[2]
            phases = {"PENDING": "Pending", "RUNNING": "Running", "FAILED": "Failed"}
            self.pods[f"{self.name}-{TEMPLATE}-{number}"] = Pod(
                {"app.kubernetes.io/component": name, "workflows.argoproj.io/workflow": self.name},
                {"phase": phases.get(state, "Succeeded"), **(status or {})} if is_last else {},
                log if is_last else "",
                events if is_last else (),
            )
        return self

    def failed_driver(self, name: str) -> "Workflow":
        """Add a step whose driver failed: there is no node of the step itself."""
        self._node(f"{name}-driver", "FAILED", [f"{name}-driver(0)"], 3)
        return self

    def look(self, state: str) -> dict[str, Any]:
        """Return the fields of a run that this look at it shows."""
        return {
            "state": state,
            "run_details": {"task_details": self.details},
            "pods": self.pods,
        }

    def _node(self, display_name: str, state: str, children: list[str], seconds: int) -> None:
        ended = state in ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
        end = f"2026-11-30T20:{seconds // 60:02d}:{seconds % 60:02d}Z"
        self.details.append(
            {
                "task_id": f"task-{len(self.details)}",
                "display_name": display_name,
                "state": state,
                "start_time": "2026-11-30T20:00:00Z",
                "end_time": end if ended else NO_TIME,
                "child_tasks": [{"pod_name": self._id(child)} for child in children],
            }
        )

    def _id(self, node: str) -> str:
        # Argo: FNV-1a of the node's name, in 32 bits.
        value = 2166136261
        for byte in f"{self.name}.{node}".encode():
            value = (value ^ byte) * 16777619 % 2**32
        return f"{self.name}-{value}"


def pod_answer(
    pods: dict[str, Pod], namespace: str, path: str, query: dict[str, str]
) -> tuple[int, str, Any]:
    """Return status, media type and content of the UI server's routes below /k8s/pod."""
    for name in ("podname", "podnamespace"):
        if name not in query:
            return 422, "text/html", f"{name} argument is required"
    pod = pods.get(query["podname"]) if query["podnamespace"] == namespace else None
    if pod is None:
        return 500, "text/html", f"Could not get pod {query['podname']}"
    if path == "/k8s/pod/logs":
        return 200, "text/plain", pod.log
    if path == "/k8s/pod/events":
        return 200, "text/html", {"items": list(pod.events)}
    metadata = {"name": query["podname"], "namespace": namespace, "labels": pod.labels}
    return 200, "text/html", {"metadata": metadata, "status": pod.status}
