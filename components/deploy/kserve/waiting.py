"""Waits until a given deployment is served everywhere."""

import logging
import time
from dataclasses import dataclass
from typing import Any

from components.deploy.kserve.diagnosis import CAUSE_LENGTH, ENDINGS, RolloutState, diagnose
from components.deploy.kserve.inference_service import STOP, Target
from components.deploy.kserve.live_service import describe, identity_of, is_stopped, marks_of
from components.kubernetes_api import Cluster, object_path
from components.pod_troubles import find_troubles, is_hopeless
from segmentor.errors import ConfigError, DeployError
from segmentor.plurals import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds; a failure counts once it has lasted for `failure`.

    `poll`: the longest time between two looks; a change of the InferenceService is seen at once.
    """

    deadline: float = 600.0
    poll: float = 5.0
    failure: float = 20.0

    def __post_init__(self) -> None:
        if not self.deadline > 0:
            raise ConfigError("--deploy-deadline", f"{self.deadline:g}", "more than 0 seconds")


def wait_until_served(
    cluster: Cluster, target: Target, wanted: dict[str, Any], patience: Patience
) -> str:
    """Wait until this deployment, and no other, is served everywhere; return its URL.

    The InferenceService's own Ready condition is not enough: while new pods start, the old ones
    keep it true. So the Deployment must carry the annotations of this deployment and be rolled out.
    The container image is not compared: clusters rewrite images, to a registry of their own or to a
    digest.

    Args:
        cluster: Where it was deployed.
        target: The InferenceService.
        wanted: The manifest that was applied.
        patience: How long to wait.

    Raises:
        DeployError: it failed, the deadline passed, or another deployment took its place; the
            message has the cause.
    """
    deadline = time.monotonic() + patience.deadline
    failing_since: float | None = None
    reported = ""
    while True:
        now = time.monotonic()
        rollout = _look(cluster, target, wanted)
        waiting_for = _waiting_for(cluster, target, wanted, rollout)
        if not waiting_for:
            return _url(rollout.status)
        troubles = find_troubles(rollout.pods, ENDINGS)
        line = "; ".join([waiting_for, *(item.clause[:CAUSE_LENGTH] for item in troubles[:1])])
        if line != reported:
            logger.info("waiting name=%s for=%r", target.name, line)
            reported = line
        failing_since = (failing_since or now) if _is_hopeless(rollout) else None
        if failing_since is not None and now - failing_since >= patience.failure:
            raise _failure(cluster, target, rollout, "")
        if now >= deadline:
            reason = f"not ready after {patience.deadline:g} s, waiting for {waiting_for}: "
            raise _failure(cluster, target, rollout, reason)
        version = rollout.service.get("metadata", {}).get("resourceVersion", "")
        pause = min(patience.poll, max(0.0, deadline - now))
        cluster.wait_for_change(target.reference, version, pause)


def require_deployed(cluster: Cluster, target: Target, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the live InferenceService.

    Raises:
        DeployError: another deployment took its place, or it was deleted.
    """
    service = cluster.get(object_path(target.reference))
    if service is None or identity_of(service) != identity_of(wanted):
        found = f"{describe(service)} was deployed" if service else "it was deleted"
        raise DeployError(_name(target), f"{found} meanwhile", describe(wanted))
    return service


def _look(cluster: Cluster, target: Target, wanted: dict[str, Any]) -> RolloutState:
    service = require_deployed(cluster, target, wanted)
    pods = cluster.items(
        f"/api/v1/namespaces/{target.namespace}/pods",
        labelSelector=f"serving.kserve.io/inferenceservice={target.name}",
    )
    # Pods of an earlier deployment, and those that are being deleted, fail for other reasons.
    ours = [
        pod
        for pod in pods
        if marks_of(pod) == marks_of(wanted) and not pod["metadata"].get("deletionTimestamp")
    ]
    return RolloutState(service, ours)


def _waiting_for(
    cluster: Cluster, target: Target, wanted: dict[str, Any], rollout: RolloutState
) -> str:
    """Name what is still missing; '' once the model is served."""
    if is_stopped(rollout.service):
        return f"somebody to remove its annotation {STOP}"
    deployment = cluster.get(
        f"/apis/apps/v1/namespaces/{target.namespace}/deployments/{target.name}-predictor"
    )
    if deployment is None:
        return "a Deployment"
    if marks_of(deployment["spec"]["template"]) != marks_of(wanted):
        return "a Deployment of this version"
    progress = deployment.get("status", {})
    replicas = deployment["spec"].get("replicas", 1)
    updated, available = progress.get("updatedReplicas", 0), progress.get("availableReplicas", 0)
    if progress.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "the Deployment to be observed"
    # The same conditions as `kubectl rollout status`.
    if updated < replicas:
        return f"{counted(replicas, 'new pod')} ({updated} so far)"
    if progress.get("replicas", 0) > updated:
        return "old pods to end"
    if available < replicas:
        return f"{counted(replicas, 'available pod')} ({available} so far)"
    ready = _condition(rollout.status, "Ready")
    if ready.get("status") != "True":
        return f"Ready ({ready.get('reason') or 'no reason given'})"
    return "" if _url(rollout.status) else "an address"


def _is_hopeless(rollout: RolloutState) -> bool:
    return rollout.is_invalid or any(map(is_hopeless, rollout.pods))


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    for condition in status.get("conditions", []):
        if condition["type"] == kind:
            return dict(condition)
    return {}


def _url(status: dict[str, Any]) -> str:
    # The address inside the cluster first: this step is a pod, and a gateway may ask for a login.
    return str(status.get("address", {}).get("url") or status.get("url") or "")


def _failure(cluster: Cluster, target: Target, rollout: RolloutState, reason: str) -> DeployError:
    findings = list(diagnose(cluster, target, rollout))
    for finding in findings:
        logger.error("diagnosis name=%s %s", target.name, finding)
    cause = findings[0][:CAUSE_LENGTH] if findings else "the cluster reports no cause"
    return DeployError(_name(target), f"{reason}{cause}")


def _name(target: Target) -> str:
    return f"InferenceService {target.namespace}/{target.name}"
