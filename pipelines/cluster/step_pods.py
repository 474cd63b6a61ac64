"""Finds the pods of a run's steps, says why one has not started, and what a failed one wrote.

KFP's API lists the nodes of Argo's workflow without their ids, each with the ids of its children.
The name of a pod is <workflow>-<template>-<last number of its node's id>.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.cluster.ui_server import UiServer
from pipelines.error_lines import error_of

COMPONENT = "app.kubernetes.io/component"
_EXECUTOR = "executor"
_TEMPLATE = "system-container-impl"
# check_deployment says what train's own pod gets, from the parameters of the same names.
_PARAMETER = re.compile(r"\['(?:pipelinechannel--)?(?:check-deployment-)?(\w+)'\]")
# What the launcher writes beside the step's own lines: 'F1130 20:15:01.123456 12 main.go:58] ...'.
_LAUNCHER_LINE = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d")
_STARTING = ("PodInitializing", "ContainerCreating")
_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


@dataclass(frozen=True)
class StepSettings:
    """The pipeline parameters that decide a step's pod; '' where a value is fixed."""

    template: str
    image: str
    cpu: str
    memory: str
    accelerators: str
    node_selector: str
    tolerations: str


@dataclass(frozen=True)
class Trouble:
    """The reason why a pod has not started, and what to do about it."""

    kind: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"has not started: {self.message}; {self.remedy}"


def read_settings(pipeline: Path) -> dict[str, StepSettings]:
    """Return the settings of all steps of a compiled pipeline, by the name of their task."""
    specification, *others = yaml.load_all(pipeline.read_text(encoding="utf-8"), yaml.CSafeLoader)
    platform = others[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if others else {}
    executors = specification["deploymentSpec"]["executors"]
    components = specification["components"]
    return {
        task["taskInfo"]["name"]: _settings(executors[label]["container"], platform.get(label, {}))
        for graph in [specification["root"], *components.values()]
        for task in graph.get("dag", {}).get("tasks", {}).values()
        if (label := components[task["componentRef"]["name"]].get("executorLabel"))
    }


def _settings(container: Mapping[str, Any], platform: Mapping[str, Any]) -> StepSettings:
    resources = container.get("resources", {})
    metadata = platform.get("podMetadata", {})
    tolerations = platform.get("tolerations", [])
    counts = [len(metadata.get(kind, {})) for kind in ("annotations", "labels")]
    prefix = f"metadata-{counts[0]}-{counts[1]}-" if any(counts) else ""
    return StepSettings(
        template=prefix + _TEMPLATE,
        image=_parameter(container["image"]),
        cpu=_parameter(resources.get("resourceCpuRequest", "")),
        memory=_parameter(resources.get("resourceMemoryRequest", "")),
        accelerators=_parameter(resources.get("accelerator", {}).get("resourceCount", "")),
        node_selector=_reference(platform.get("nodeSelector", {}).get("nodeSelectorJson", {})),
        tolerations=_reference(tolerations[0].get("tolerationJson", {}) if tolerations else {}),
    )


def _parameter(text: str) -> str:
    match = _PARAMETER.search(text)
    return match[1].replace("train_step_", "train_") if match else ""


def _reference(source: Mapping[str, str]) -> str:
    return source.get("componentInputParameter", "").removeprefix("pipelinechannel--")


class StepPods:
    """The pods of one run."""

    def __init__(self, server: UiServer, settings: Mapping[str, StepSettings]) -> None:
        self._server = server
        self._settings = settings
        self._started: set[str] = set()

    def troubles(self, tasks: Sequence[Any]) -> Iterator[tuple[str, Trouble]]:
        """Yield the steps whose pods have not started for a reason that a person can mend."""
        for name in self._names(tasks, ("RUNNING", "PENDING")):
            if name in self._started:
                continue
            pod = self._server.pod(name)
            if pod is None:
                continue
            if pod.get("status", {}).get("phase") != "Pending":
                self._started.add(name)
                continue
            step = _component(pod)
            trouble = self._trouble(name, pod, self._settings.get(step))
            if trouble is not None:
                yield step, trouble

    def causes(self, step: str, tasks: Sequence[Any]) -> list[str]:
        """Return what the failed pods of a step wrote last: each its `error:` line, if it has one.

        A pod that is gone does not say which step it was of. Its log, which KFP keeps, counts where
        no other step failed.
        """
        names = self._names(tasks, ("FAILED",))
        pods = {name: self._server.pod(name) for name in names}
        own = [name for name, pod in pods.items() if pod and _component(pod) == step]
        if not own and len([t for t in tasks if _is_failed_step(t, self._settings)]) == 1:
            own = [name for name, pod in pods.items() if pod is None]
        memory = self._settings[step].memory
        found = [
            _end_of(pods[name] or {}, memory) or _last_error(self._server.log(name)) for name in own
        ]
        return [cause for cause in found if cause]

    def kubectl_line(self, step: str) -> str:
        """Return the command that shows the log of a step."""
        selector = f"pipeline/runid={self._server.run_id},{COMPONENT}={step}"
        return (
            f"kubectl logs --namespace {self._server.namespace} --selector {selector} "
            "--container main --tail=30"
        )

    def _names(self, tasks: Sequence[Any], states: Sequence[str]) -> list[str]:
        """Return names that the pods of steps in these states may have, each once.

        A step's only child is its executor. That is the pod, or, where Argo starts lost pods again,
        the parent of one pod an attempt. Which of them it is cannot be seen: other names lead to no
        pod.
        """
        nodes = [
            task.child_tasks[-1].pod_name
            for task in tasks
            if task.state in states
            and task.child_tasks
            and (task.display_name == _EXECUTOR or task.display_name in self._settings)
        ]
        templates = dict.fromkeys(settings.template for settings in self._settings.values())
        return [
            f"{workflow}-{template}-{number}"
            for workflow, _, number in (node.rpartition("-") for node in dict.fromkeys(nodes))
            for template in templates
        ]

    def _trouble(
        self, name: str, pod: Mapping[str, Any], settings: StepSettings | None
    ) -> Trouble | None:
        status = pod.get("status", {})
        for condition in status.get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                message = str(condition.get("message", "not scheduled"))
                return Trouble("schedule", message, _placing_remedy(message, settings))
        statuses = [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]
        for container in statuses:
            waiting = container.get("state", {}).get("waiting") or {}
            reason = str(waiting.get("reason", ""))
            if not reason or reason in _STARTING:
                continue
            message = f"{reason}: {waiting.get('message') or container.get('image', '')}"
            if reason in _IMAGE_REASONS:
                return Trouble("image", message, _change(settings.image if settings else ""))
            return Trouble(reason, message, "see its events in the pipelines UI")
        warnings = [event for event in self._server.events(name) if event.get("type") == "Warning"]
        if not warnings:
            return None
        message = f"{warnings[-1].get('reason')}: {warnings[-1].get('message')}"
        return Trouble(message, message, "see its events in the pipelines UI")


def _placing_remedy(message: str, settings: StepSettings | None) -> str:
    if settings is None:
        return _change("")
    causes = (
        ("Insufficient cpu", settings.cpu),
        ("Insufficient memory", settings.memory),
        ("affinity", settings.node_selector),
        ("taint", settings.tolerations),
        ("Insufficient", settings.accelerators),
    )
    return _change(next((name for text, name in causes if text in message), ""))


def _change(parameter: str) -> str:
    return f"change parameter {parameter}" if parameter else "no parameter decides this"


def _component(pod: Mapping[str, Any]) -> str:
    return str((pod.get("metadata", {}).get("labels") or {}).get(COMPONENT, ""))


def _is_failed_step(task: Any, settings: Mapping[str, StepSettings]) -> bool:
    return task.state == "FAILED" and task.display_name in settings


def _end_of(pod: Mapping[str, Any], memory: str) -> str:
    """Return how Kubernetes ended a pod; '' when its step ended by itself."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses") or []:
        ended = container.get("state", {}).get("terminated") or {}
        if container.get("name") == "main" and ended.get("reason") == "OOMKilled":
            return f"out of memory (OOMKilled); {_change(memory)}"
    return f"{status['reason']}: {status.get('message', '')}" if status.get("reason") else ""


def _last_error(log: str) -> str:
    """Return the step's own `error:` line, else the last line that is not the launcher's."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    own = [line for line in lines if not _LAUNCHER_LINE.match(line)]
    return error_of(own) or next(reversed(own), "")
