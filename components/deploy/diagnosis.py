"""Says why a version does not become ready: containers, their logs, conditions, events."""

from collections.abc import Iterator
from typing import Any

from components.deploy.cluster import Cluster
from components.deploy.inference_service import Target

CONTAINER = "kserve-container"
LOG_LINES = 20
EVENTS = 5


def diagnose(
    cluster: Cluster, target: Target, pods: list[dict[str, Any]], status: dict[str, Any]
) -> Iterator[str]:
    """Yields what is known of a failure, the likeliest cause first."""
    for pod in pods:
        name = pod["metadata"]["name"]
        for container, reason in _troubles(pod):
            lines = cluster.log(target.namespace, name, container, LOG_LINES).strip().splitlines()
            last = f"; its log ends: {lines[-1]}" if lines else ""
            yield f"pod {name}, container {container}: {reason}{last}"
            yield from (f"log {name}/{container}: {line}" for line in lines)
    failure = status.get("modelStatus", {}).get("lastFailureInfo", {})
    if failure:
        yield f"{failure.get('reason', 'failure')}: {failure.get('message', '')}"
    for condition in status.get("conditions", []):
        if condition.get("status") != "True":
            said = condition.get("message") or condition.get("reason") or "no reason given"
            yield f"condition {condition['type']}={condition['status']}: {said}"
    for event in _warnings(cluster, target):
        yield f"event {event.get('reason', '')}: {event.get('message', '')}"


def containers_of(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Lists the states of a pod's containers, those of init containers first."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _troubles(pod: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for container in containers_of(pod):
        if container.get("ready"):
            continue
        waiting = container.get("state", {}).get("waiting", {})
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get(
            "terminated"
        )
        if ended and ended.get("exitCode"):
            yield container["name"], f"exit code {ended['exitCode']} ({ended.get('reason', '')})"
        elif waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            yield container["name"], f"{waiting['reason']} ({waiting.get('message', '')})"
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            yield CONTAINER, f"not scheduled ({condition.get('message', '')})"


def _warnings(cluster: Cluster, target: Target) -> list[dict[str, Any]]:
    events = cluster.items(
        f"/api/v1/namespaces/{target.namespace}/events", fieldSelector="type=Warning"
    )
    ours = [
        event
        for event in events
        if event.get("involvedObject", {}).get("name", "").startswith(target.name)
    ]
    return sorted(ours, key=lambda event: event.get("lastTimestamp") or "")[-EVENTS:]
