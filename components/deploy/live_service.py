"""What a live InferenceService says: which model it is to serve, if it does, who stopped it."""

import logging
from dataclasses import dataclass
from typing import Any

from components.deploy.cluster import FIELD_MANAGER, Cluster, object_path
from components.deploy.inference_service import PREFIX, STOP, Target
from segmentor.errors import DeployError, StoreError
from segmentor.object_store import ObjectStore, ObjectUri

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """What there was before a deployment.

    `live`: the InferenceService; None when there was none. `uri`: where the served model lies; ''
    when nothing was served: no InferenceService, a stopped one, or one whose model is not there.
    """

    live: dict[str, Any] | None
    uri: str


def served_now(cluster: Cluster, target: Target, store: ObjectStore) -> Served:
    """Reads what is served before anything is changed.

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
    """Returns the address of the model that a service is to serve; '' when it names none."""
    predictor = (service or {}).get("spec", {}).get("predictor", {})
    return str(predictor.get("model", {}).get("storageUri", ""))


def annotations_of(service: dict[str, Any] | None) -> dict[str, str]:
    """Returns the annotations, of no service too."""
    return dict((service or {}).get("metadata", {}).get("annotations") or {})


def model_digest_of(service: dict[str, Any] | None) -> str:
    """Returns the digest of the model; '' when this step did not deploy it."""
    return annotations_of(service).get(f"{PREFIX}/model-digest", "")


def identity_of(service: dict[str, Any] | None) -> tuple[str, str, str]:
    """Returns what tells one deployment from another: storage URI, version, model digest."""
    version = annotations_of(service).get(f"{PREFIX}/version", "")
    return storage_uri_of(service), version, model_digest_of(service)


def is_stopped(service: dict[str, Any]) -> bool:
    """True when KServe is to run no pods of it."""
    return annotations_of(service).get(STOP) == "true"


def _require_own_stop(target: Target, live: dict[str, Any]) -> None:
    """Refuses a service that a person stopped: only who stopped it knows why."""
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
    """True when surely no object lies there; False when it cannot be known."""
    if not uri:
        return True
    try:
        return next(iter(store.list_keys(ObjectUri.parse(uri))), None) is None
    except StoreError as error:
        return "NoSuchBucket" in error.found
