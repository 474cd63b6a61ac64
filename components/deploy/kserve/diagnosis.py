"""Why a rollout does not become ready: its pods, their logs, its events, KServe's status.

Only this rollout counts: KServe keeps the last failure of earlier pods in the status for ever, and
the namespace has events of earlier rollouts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.deploy.kserve.caller import FIELD_MANAGER
from components.deploy.kserve.inference_service import Target
from components.kubernetes_api import Cluster
from components.pod_troubles import find_troubles

LOG_LINES = 20
EVENTS = 5
CAUSE_LENGTH = 400
# What it means that a container ended; its exit code follows.
ENDINGS = {
    "storage-initializer": "the model could not be fetched, exit code",
    "kserve-container": "the predictor ended with exit code",
}


@dataclass(frozen=True)
class RolloutState:
    """What is known of a rollout: the InferenceService, and the pods that belong to it."""

    service: dict[str, Any]
    pods: list[dict[str, Any]]

    @property
    def status(self) -> dict[str, Any]:
        """The status of the InferenceService."""
        status: dict[str, Any] = self.service.get("status", {})
        return status

    @property
    def is_invalid(self) -> bool:
        """True if KServe cannot make pods of the InferenceService."""
        return bool(self.status.get("modelStatus", {}).get("transitionStatus") == "InvalidSpec")

    @property
    def started(self) -> str:
        """When this step applied it, by the API server's clock; '' if that is not recorded."""
        return max(
            (
                entry.get("time") or ""
                for entry in self.service.get("metadata", {}).get("managedFields", [])
                if entry.get("manager") == FIELD_MANAGER
            ),
            default="",
        )


def diagnose(cluster: Cluster, target: Target, rollout: RolloutState) -> Iterator[str]:
    """Yield what is known of a failure, the cause first."""
    events = _warnings(cluster, target, rollout)
    for trouble in find_troubles(rollout.pods, ENDINGS):
        lines = cluster.log(target.namespace, trouble.pod, trouble.container, LOG_LINES)
        logged = lines.strip().splitlines()
        last = f": {logged[-1]}" if logged else ""
        yield f"{trouble.clause}{last} (pod {trouble.pod}, container {trouble.container})"
        yield from (f"log {trouble.pod}/{trouble.container}: {line}" for line in logged)
    failure = rollout.status.get("modelStatus", {}).get("lastFailureInfo", {})
    if rollout.is_invalid and failure:
        yield f"{failure.get('reason', 'invalid')}: {failure.get('message', '')}"
    for event in events:
        yield f"event {event.get('reason', '')}: {event.get('message', '')}"
    for condition in rollout.status.get("conditions", []):
        # `Stopped: False` only informs.
        if condition.get("status") != "True" and condition.get("severity") != "Info":
            said = condition.get("message") or condition.get("reason") or "no reason given"
            yield f"condition {condition['type']}={condition['status']}: {said}"


def _warnings(cluster: Cluster, target: Target, rollout: RolloutState) -> list[dict[str, Any]]:
    """Return the warnings about this rollout's pods; without pods, about what should make them."""
    events = cluster.items(
        f"/api/v1/namespaces/{target.namespace}/events", fieldSelector="type=Warning"
    )
    pods = {pod["metadata"]["name"] for pod in rollout.pods}
    ours = []
    for event in events:
        about = event.get("involvedObject", {})
        name = about.get("name", "")
        if pods:
            is_ours = name in pods
        else:
            is_makers = about.get("kind") != "Pod" and (
                name == target.name or name.startswith(f"{target.name}-predictor")
            )
            is_ours = is_makers and (event.get("lastTimestamp") or "") >= rollout.started
        if is_ours:
            ours.append(event)
    return sorted(ours, key=lambda event: event.get("lastTimestamp") or "")[-EVENTS:]
