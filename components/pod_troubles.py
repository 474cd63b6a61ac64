"""What is wrong with pods, in one clause each, as their status tells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")
# Reasons why a container waits that do not pass by themselves.
_HOPELESS = {*_IMAGE_REASONS, "CrashLoopBackOff", "CreateContainerConfigError"}
_STARTING = (None, "PodInitializing", "ContainerCreating")


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a container of a pod, in one clause."""

    pod: str
    container: str
    clause: str


def find_troubles(
    pods: list[dict[str, Any]], endings: Mapping[str, str] | None = None
) -> list[Trouble]:
    """Return what is wrong with pods, as their status tells.

    Args:
        pods: The pods.
        endings: What it means that a container ended, by its name; its exit code follows.
    """
    return [trouble for pod in pods for trouble in _troubles(pod, endings or {})]


def containers_of(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of a pod's containers, init containers first."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def is_hopeless(pod: dict[str, Any]) -> bool:
    """Return whether a container waits for what will not come by itself."""
    reasons = (
        item.get("state", {}).get("waiting", {}).get("reason") for item in containers_of(pod)
    )
    return not _HOPELESS.isdisjoint(reasons)


def _troubles(pod: dict[str, Any], endings: Mapping[str, str]) -> Iterator[Trouble]:
    name = pod["metadata"]["name"]
    images = {item["name"]: item.get("image", "") for item in pod["spec"].get("containers", [])}
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            clause = f"no node has room for the pod ({condition.get('message', '')})"
            yield Trouble(name, next(iter(images), ""), clause)
    for container in containers_of(pod):
        if container.get("ready"):
            continue
        clause = _clause(container, images.get(container["name"], ""), endings)
        if clause:
            yield Trouble(name, container["name"], clause)


def _clause(container: dict[str, Any], image: str, endings: Mapping[str, str]) -> str:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason"), waiting.get("message", "")
    if reason in _IMAGE_REASONS:
        return f"the image {image or container.get('image', '')} cannot be pulled ({message})"
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    if ended and ended.get("reason") == "OOMKilled":
        return "the container ran out of memory"
    if ended and ended.get("exitCode"):
        ending = endings.get(container["name"], "the container ended with exit code")
        return f"{ending} {ended['exitCode']}"
    return "" if reason in _STARTING else f"{reason} ({message})"
