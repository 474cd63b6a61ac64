"""What a live InferenceService says: which model it serves, and who stopped it."""

import logging
from dataclasses import dataclass
from typing import Any

from components.deploy.kserve.caller import FIELD_MANAGER
from components.deploy.kserve.inference_service import PREFIX, STOP, Target
from components.kubernetes_api import Cluster, object_path
from segmentor.errors import DeployError, StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """What was served before a deployment.

    `live`: the InferenceService; None if it did not exist. `uri`: where the served model is; '' if
    nothing was served, because the InferenceService did not exist, was stopped, or its model is
    missing.
    """

    live: dict[str, Any] | None
    uri: str


def served_now(cluster: Cluster, target: Target, store: ObjectStore) -> Served:
    """Read what is served before anything is changed.

    Raises:
        DeployError: the API server refuses, or somebody else has stopped the service.
    """
    live = cluster.get(object_path(target.reference))
    if live is None:
        return Served(None, "")
    if is_stopped(live):
        _require_own_stop(target, live)
        return Served(live, "")
    uri = storage_uri_of(live)
    if not _is_ready(live) and _holds_nothing(store, uri):
        logger.info("no model at uri=%s: nothing is served", uri)
        return Served(live, "")
    return Served(live, uri)


def storage_uri_of(service: dict[str, Any] | None) -> str:
    """Return the address of the model that a service is to serve; '' if it names none."""
    predictor = (service or {}).get("spec", {}).get("predictor", {})
    return str(predictor.get("model", {}).get("storageUri", ""))


def annotations_of(resource: dict[str, Any] | None) -> dict[str, str]:
    """Return the annotations; none for an object that does not exist."""
    return dict((resource or {}).get("metadata", {}).get("annotations") or {})


def marks_of(resource: dict[str, Any] | None) -> dict[str, str]:
    """Return the annotations of this step, which KServe copies from a service to its pods."""
    annotations = annotations_of(resource).items()
    return {key: value for key, value in annotations if key.startswith(f"{PREFIX}/")}


def identity_of(service: dict[str, Any] | None) -> tuple[str, dict[str, str]]:
    """Return what tells one deployment from another: the storage URI and the marks."""
    return storage_uri_of(service), marks_of(service)


def describe(service: dict[str, Any] | None) -> str:
    """Return which version is deployed, for a message."""
    version = marks_of(service).get(f"{PREFIX}/version", "unknown")
    return f"{storage_uri_of(service) or 'no model'} (version {version})"


def is_stopped(service: dict[str, Any]) -> bool:
    """Return True if KServe is told to run no pods of it."""
    return annotations_of(service).get(STOP) == "true"


def _require_own_stop(target: Target, live: dict[str, Any]) -> None:
    """Refuse a service that a person stopped: only that person knows why."""
    owners = {
        entry.get("manager", "somebody")
        for entry in live["metadata"].get("managedFields", [])
        if f"f:{STOP}" in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {})
    }
    if owners == {FIELD_MANAGER}:
        return
    others = sorted(owners - {FIELD_MANAGER})
    raise DeployError(
        f"InferenceService {target.namespace}/{target.name}",
        f"stopped by {', '.join(others) or 'somebody'} (annotation {STOP})",
        "a service that may run",
        f"nothing was published; start it: kubectl annotate inferenceservice {target.name} "
        f"--namespace {target.namespace} {STOP}-",
    )


def _is_ready(service: dict[str, Any]) -> bool:
    conditions = service.get("status", {}).get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _holds_nothing(store: ObjectStore, uri: str) -> bool:
    """Return True if certainly no object is there; False if that cannot be known."""
    if not uri:
        return True
    try:
        return next(iter(store.list_keys(ObjectUri.parse(uri))), None) is None
    except StoreError as error:
        return "NoSuchBucket" in error.found
