"""Who owns which field of an InferenceService, as server-side apply records it.

This step owns what decides which model is served; manifests/ own the rest. `managedFields` lists
the fields of each manager as a tree: `{"f:spec": {"f:predictor": {"f:timeout": {}}}}`.
"""

import logging
from typing import Any

from components.deploy.kserve.caller import FIELD_MANAGER
from components.deploy.kserve.inference_service import (
    AUTOSCALER,
    MODEL_FIELDS,
    MODEL_FORMAT,
    PREFIX,
)
from components.kubernetes_api import Cluster, object_path
from components.kubernetes_connection import ForbiddenError

logger = logging.getLogger(__name__)

_RUNTIME_API_VERSION = "serving.kserve.io/v1alpha1"
_KEYS = ("apiVersion", "kind")


def leave_to_others(manifest: dict[str, Any], live: dict[str, Any] | None) -> dict[str, Any]:
    """Return the manifest without the fields that another manager owns and this step need not.

    A predictor with one GPU, for example, must end its old pod before the new one starts:
    overlays/gpu says so, and our default would leave the new pod waiting for a second device.

    Args:
        manifest: As render_inference_service returns it.
        live: The object on the cluster; None if it does not exist.
    """
    others = [
        entry.get("fieldsV1", {})
        for entry in (live or {}).get("metadata", {}).get("managedFields", [])
        if entry.get("manager") != FIELD_MANAGER
    ]
    metadata = dict(manifest["metadata"])
    if _names(others, "spec", "predictor") & {"minReplicas", "maxReplicas"}:
        annotations = {k: v for k, v in metadata["annotations"].items() if k != AUTOSCALER}
        metadata["annotations"] = annotations
    for part in ("labels", "annotations"):
        owned = _names(others, "metadata", part)
        kept = {
            key: value
            for key, value in metadata.pop(part).items()
            if key not in owned or key.startswith(f"{PREFIX}/")
        }
        # An empty mapping would own all of it.
        metadata.update({part: kept} if kept else {})
    predictor = dict(manifest["spec"]["predictor"])
    owned = _names(others, "spec", "predictor", "model")
    model = {
        key: value
        for key, value in predictor.pop("model").items()
        if key not in owned or key in MODEL_FIELDS
    }
    owned = _names(others, "spec", "predictor")
    _log_other_values(predictor, live, owned)
    defaults = {key: value for key, value in predictor.items() if key not in owned}
    return {**manifest, "metadata": metadata, "spec": {"predictor": {**defaults, "model": model}}}


def _names(trees: list[dict[str, Any]], *path: str) -> set[str]:
    """Return the names of the fields directly below a path that any of the managers owns."""
    found: set[str] = set()
    for tree in trees:
        for key in path:
            tree = tree.get(f"f:{key}", {})
        found |= {key.removeprefix("f:") for key in tree}
    return found


def _log_other_values(
    predictor: dict[str, Any], live: dict[str, Any] | None, owned: set[str]
) -> None:
    there = (live or {}).get("spec", {}).get("predictor", {})
    for key in sorted(owned & predictor.keys()):
        if there.get(key) != predictor[key]:
            logger.info("left to its owner field=%s value=%s", key, there.get(key))


def earlier_values(manifest: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    """Return what to apply so that an InferenceService is again what it was.

    These are the earlier values of all fields that this step owned then or that the manifest has
    set since. Fields that the earlier object lacks are left out, so that server-side apply removes
    them.

    Args:
        manifest: What was applied since.
        live: The object as it was before.
    """
    ours = [
        entry.get("fieldsV1", {})
        for entry in live["metadata"].get("managedFields", [])
        if (entry.get("manager"), entry.get("operation")) == (FIELD_MANAGER, "Apply")
    ]
    values = _values_at(_tree_of(manifest), live)
    for tree in ours:
        values = _merged(values, _values_at(tree, live))
    identity = {key: manifest[key] for key in _KEYS}
    names = {key: manifest["metadata"][key] for key in ("name", "namespace")}
    return {**values, **identity, "metadata": {**values.get("metadata", {}), **names}}


def _tree_of(value: dict[str, Any]) -> dict[str, Any]:
    return {f"f:{k}": _tree_of(v) if isinstance(v, dict) else {} for k, v in value.items()}


def _values_at(tree: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an object that a tree of fields names, as far as it is there."""
    found = {}
    for field, below in tree.items():
        key = field.removeprefix("f:")
        if key in live:
            is_inner = bool(below) and isinstance(live[key], dict)
            found[key] = _values_at(below, live[key]) if is_inner else live[key]
    return found


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(first[key], value)
        for key, value in second.items()
        if isinstance(value, dict) and isinstance(first.get(key), dict)
    }
    return {**first, **second, **both}


def release_runtime(cluster: Cluster, namespace: str) -> None:
    """Give up the ServingRuntime's fields, which earlier releases of this step applied.

    They put the predictor's image there. Without this, every later `kubectl apply` of an overlay
    would report a conflict. The rights to do so are in the earlier releases' Role; a Role without
    them is of an installation that has been applied anew since.
    """
    runtime = {
        "apiVersion": _RUNTIME_API_VERSION,
        "kind": "ServingRuntime",
        "metadata": {"name": MODEL_FORMAT, "namespace": namespace},
    }
    try:
        live = cluster.get(object_path(runtime))
        entries = (live or {}).get("metadata", {}).get("managedFields", [])
        kept = [entry for entry in entries if entry.get("manager") != FIELD_MANAGER]
        if len(kept) < len(entries):
            # One empty entry is how an API server is told that nobody owns anything.
            cluster.merge(runtime, {"metadata": {"managedFields": kept or [{}]}})
            logger.info("released kind=ServingRuntime name=%s", MODEL_FORMAT)
    except ForbiddenError:
        logger.debug("runtime left alone: the Role does not let this step read or patch it")
