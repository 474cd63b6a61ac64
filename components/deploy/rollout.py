"""Waits until a given version is served, and says why when it is not."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.deploy.cluster import Cluster
from components.deploy.inference_service import API_VERSION, Target, digest_argument
from segmentor.errors import DeployError

logger = logging.getLogger(__name__)

CONTAINER = "kserve-container"
INITIALIZER = "storage-initializer"
LOG_LINES = 20
EVENTS = 5
CAUSE_LENGTH = 400
# Reasons for which a container waits, and will go on waiting.
_HOPELESS = (
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds; a failure counts when it has lasted for `failure`."""

    deadline: float = 600.0
    poll: float = 2.0
    failure: float = 20.0


def wait_until_served(
    cluster: Cluster, target: Target, model_digest: str, patience: Patience
) -> str:
    """Waits until this model, and no other, is served everywhere; returns its URL.

    The InferenceService's own Ready condition is not enough: while new pods start, the old ones
    keep it true. So the Deployment must carry this model's digest and be rolled out.

    Raises:
        DeployError: it failed, or the deadline passed; the message has the likeliest cause.
    """
    deadline = time.monotonic() + patience.deadline
    failing_since: float | None = None
    reported = ""
    while True:
        service = cluster.get(_service_path(target)) or {}
        status = service.get("status", {})
        waiting_for = _waiting_for(cluster, target, model_digest, status)
        if not waiting_for:
            return _url(status)
        if waiting_for != reported:
            logger.info("waiting name=%s for=%r", target.name, waiting_for)
            reported = waiting_for
        now = time.monotonic()
        pods = _pods(cluster, target, model_digest)
        failing_since = (failing_since or now) if _is_hopeless(pods, status) else None
        if failing_since is not None and now - failing_since >= patience.failure:
            raise _failure(cluster, target, pods, status, "it failed")
        if now >= deadline:
            reason = f"not ready after {patience.deadline:g} s, waiting for {waiting_for}"
            raise _failure(cluster, target, pods, status, reason)
        time.sleep(patience.poll)


def _waiting_for(
    cluster: Cluster, target: Target, model_digest: str, status: dict[str, Any]
) -> str:
    """Names what is still missing; '' when the model is served."""
    deployment = cluster.get(
        f"/apis/apps/v1/namespaces/{target.namespace}/deployments/{target.name}-predictor"
    )
    if deployment is None:
        return "a Deployment"
    if digest_argument(model_digest) not in _arguments(deployment["spec"]["template"]):
        return "a Deployment of this version"
    rollout = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    if rollout.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "the Deployment to be observed"
    # As `kubectl rollout status` has it.
    if rollout.get("updatedReplicas", 0) < wanted:
        return f"{wanted} new pods, {rollout.get('updatedReplicas', 0)} are there"
    if rollout.get("replicas", 0) > rollout["updatedReplicas"]:
        return "old pods to end"
    if rollout.get("availableReplicas", 0) < wanted:
        return f"{wanted} pods to be available, {rollout.get('availableReplicas', 0)} are"
    ready = _condition(status, "Ready")
    if ready.get("status") != "True":
        return f"Ready ({ready.get('reason') or 'no reason given'})"
    return "" if _url(status) else "an address"


def _arguments(pod: dict[str, Any]) -> list[str]:
    containers = pod.get("spec", {}).get("containers", [])
    return [argument for container in containers for argument in container.get("args", [])]


def _pods(cluster: Cluster, target: Target, model_digest: str) -> list[dict[str, Any]]:
    """Lists the pods of this version: those of an earlier one may fail for reasons of their own."""
    pods = cluster.items(
        f"/api/v1/namespaces/{target.namespace}/pods",
        labelSelector=f"serving.kserve.io/inferenceservice={target.name}",
    )
    return [pod for pod in pods if digest_argument(model_digest) in _arguments(pod)]


def _is_hopeless(pods: list[dict[str, Any]], status: dict[str, Any]) -> bool:
    reasons = {
        container.get("state", {}).get("waiting", {}).get("reason")
        for pod in pods
        for container in _containers(pod)
    }
    invalid = status.get("modelStatus", {}).get("transitionStatus") == "InvalidSpec"
    return invalid or bool(reasons & set(_HOPELESS))


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    for condition in status.get("conditions", []):
        if condition["type"] == kind:
            return dict(condition)
    return {}


def _url(status: dict[str, Any]) -> str:
    # The address inside the cluster first: this step is a pod, and a gateway may ask for a login.
    return str(status.get("address", {}).get("url") or status.get("url") or "")


def _failure(
    cluster: Cluster,
    target: Target,
    pods: list[dict[str, Any]],
    status: dict[str, Any],
    reason: str,
) -> DeployError:
    findings = list(diagnose(cluster, target, pods, status))
    for finding in findings:
        logger.error("diagnosis name=%s %s", target.name, finding)
    cause = findings[0][:CAUSE_LENGTH] if findings else "nothing was reported"
    return DeployError(f"InferenceService {target.namespace}/{target.name}", f"{reason}: {cause}")


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


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _troubles(pod: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for container in _containers(pod):
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


def _service_path(target: Target) -> str:
    return f"/apis/{API_VERSION}/namespaces/{target.namespace}/inferenceservices/{target.name}"
