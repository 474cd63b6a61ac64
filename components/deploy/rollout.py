"""Waits until a given version is served everywhere."""

import logging
import time
from dataclasses import dataclass
from typing import Any

from components.deploy.cluster import ApiAwayError, Cluster, object_path
from components.deploy.diagnosis import containers_of, diagnose
from components.deploy.inference_service import STOP, Target, digest_argument
from components.deploy.live_service import is_stopped, model_digest_of, storage_uri_of
from segmentor.errors import ConfigError, DeployError

logger = logging.getLogger(__name__)

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
    """How long to wait, in seconds; a failure counts when it has lasted for `failure`.

    `poll`: the longest time between two looks; a change of the InferenceService is seen at once.
    """

    deadline: float = 600.0
    poll: float = 5.0
    failure: float = 20.0

    def __post_init__(self) -> None:
        if not self.deadline > 0:
            raise ConfigError("--deadline", f"{self.deadline:g}", "more than 0 seconds")


@dataclass(frozen=True)
class Wanted:
    """What tells the pods that are waited for from others: the model, and another container image.

    `old_image`: '' when the image stays. The new one is not looked for: clusters rewrite images, to
    a registry of their own or to a digest.
    """

    model_digest: str
    old_image: str = ""


def wait_until_served(cluster: Cluster, target: Target, wanted: Wanted, patience: Patience) -> str:
    """Waits until this model, and no other, is served everywhere; returns its URL.

    The InferenceService's own Ready condition is not enough: while new pods start, the old ones
    keep it true. So the Deployment must carry this model's digest, and the image, and be rolled
    out.

    Raises:
        DeployError: it failed, or the deadline passed; the message has the likeliest cause.
    """
    deadline = time.monotonic() + patience.deadline
    failing_since: float | None = None
    reported = ""
    while True:
        now = time.monotonic()
        pause = min(patience.poll, max(0.0, deadline - now))
        try:
            view = _look(cluster, target, wanted)
            if not view.waiting_for:
                return _url(view.status)
            if view.waiting_for != reported:
                logger.info("waiting name=%s for=%r", target.name, view.waiting_for)
                reported = view.waiting_for
            failing_since = (failing_since or now) if _is_hopeless(view) else None
            if failing_since is not None and now - failing_since >= patience.failure:
                raise _failure(cluster, target, view, "it failed")
            if now >= deadline:
                reason = f"not ready after {patience.deadline:g} s, waiting for {view.waiting_for}"
                raise _failure(cluster, target, view, reason)
        except ApiAwayError as error:
            # Control planes are upgraded while models are deployed.
            logger.warning("api server away name=%s found=%r", target.name, error.found)
            if now >= deadline:
                raise
            time.sleep(pause)
        else:
            cluster.wait_for_change(target.reference, view.version, pause)


@dataclass(frozen=True)
class _View:
    """What one look found; `waiting_for` is '' when the model is served."""

    version: str
    status: dict[str, Any]
    waiting_for: str
    pods: list[dict[str, Any]]


def _look(cluster: Cluster, target: Target, wanted: Wanted) -> _View:
    service = cluster.get(object_path(target.reference))
    if service is None or model_digest_of(service) != wanted.model_digest:
        # No waiting will bring it back.
        found = storage_uri_of(service) + " was deployed" if service else "it was deleted"
        raise DeployError(_name(target), f"{found} meanwhile", f"the model {wanted.model_digest}")
    return _View(
        service.get("metadata", {}).get("resourceVersion", ""),
        service.get("status", {}),
        _waiting_for(cluster, target, wanted, service),
        _pods(cluster, target, wanted.model_digest),
    )


def _waiting_for(cluster: Cluster, target: Target, wanted: Wanted, service: dict[str, Any]) -> str:
    """Names what is still missing; '' when the model is served."""
    if is_stopped(service):
        return f"somebody to remove its annotation {STOP}"
    status = service.get("status", {})
    deployment = cluster.get(
        f"/apis/apps/v1/namespaces/{target.namespace}/deployments/{target.name}-predictor"
    )
    if deployment is None:
        return "a Deployment"
    template = deployment["spec"]["template"]
    if digest_argument(wanted.model_digest) not in _arguments(template):
        return "a Deployment of this version"
    has_old_image = bool(wanted.old_image) and wanted.old_image in _images(template)
    if has_old_image and not _has_own_image(service):
        return f"a Deployment with another image than {wanted.old_image}"
    rollout = deployment.get("status", {})
    replicas = deployment["spec"].get("replicas", 1)
    if rollout.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "the Deployment to be observed"
    # As `kubectl rollout status` has it.
    if rollout.get("updatedReplicas", 0) < replicas:
        return f"{replicas} new pods, {rollout.get('updatedReplicas', 0)} are there"
    if rollout.get("replicas", 0) > rollout["updatedReplicas"]:
        return "old pods to end"
    if rollout.get("availableReplicas", 0) < replicas:
        return f"{replicas} pods to be available, {rollout.get('availableReplicas', 0)} are"
    ready = _condition(status, "Ready")
    if ready.get("status") != "True":
        return f"Ready ({ready.get('reason') or 'no reason given'})"
    return "" if _url(status) else "an address"


def _arguments(pod: dict[str, Any]) -> list[str]:
    containers = pod.get("spec", {}).get("containers", [])
    return [argument for container in containers for argument in container.get("args", [])]


def _images(pod: dict[str, Any]) -> list[str]:
    return [container.get("image", "") for container in pod["spec"].get("containers", [])]


def _has_own_image(service: dict[str, Any]) -> bool:
    """True when the InferenceService itself says which image, whatever its runtime says."""
    model = service.get("spec", {}).get("predictor", {}).get("model", {})
    return bool(model.get("image") or model.get("runtimeVersion"))


def _pods(cluster: Cluster, target: Target, model_digest: str) -> list[dict[str, Any]]:
    """Lists the pods of this version: those of an earlier one may fail for reasons of their own."""
    pods = cluster.items(
        f"/api/v1/namespaces/{target.namespace}/pods",
        labelSelector=f"serving.kserve.io/inferenceservice={target.name}",
    )
    return [pod for pod in pods if digest_argument(model_digest) in _arguments(pod)]


def _is_hopeless(view: _View) -> bool:
    reasons = {
        container.get("state", {}).get("waiting", {}).get("reason")
        for pod in view.pods
        for container in containers_of(pod)
    }
    invalid = view.status.get("modelStatus", {}).get("transitionStatus") == "InvalidSpec"
    return invalid or bool(reasons & set(_HOPELESS))


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    for condition in status.get("conditions", []):
        if condition["type"] == kind:
            return dict(condition)
    return {}


def _url(status: dict[str, Any]) -> str:
    # The address inside the cluster first: this step is a pod, and a gateway may ask for a login.
    return str(status.get("address", {}).get("url") or status.get("url") or "")


def _failure(cluster: Cluster, target: Target, view: _View, reason: str) -> DeployError:
    findings = list(diagnose(cluster, target, view.pods, view.status))
    for finding in findings:
        logger.error("diagnosis name=%s %s", target.name, finding)
    cause = findings[0][:CAUSE_LENGTH] if findings else "nothing was reported"
    return DeployError(_name(target), f"{reason}: {cause}")


def _name(target: Target) -> str:
    return f"InferenceService {target.namespace}/{target.name}"
