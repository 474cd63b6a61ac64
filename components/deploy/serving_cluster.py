"""Makes a cluster serve a published model: apply, wait, golden request, or back to what was."""

import copy
import logging
from dataclasses import dataclass
from typing import Any

from components.deploy.candidate import Candidate
from components.deploy.cluster import FIELD_MANAGER, Cluster, object_path
from components.deploy.golden import check_served
from components.deploy.inference_service import (
    PREFIX,
    STOP,
    Target,
    render_serving_runtime,
    stopped,
)
from components.deploy.rollout import Patience, wait_until_served
from segmentor.errors import DeployError

logger = logging.getLogger(__name__)

_KEYS = ("apiVersion", "kind")


@dataclass(frozen=True)
class Rollout:
    """How the cluster is to be changed.

    `predictor_image`: '' leaves the ServingRuntime alone.
    """

    patience: Patience
    predictor_image: str
    max_flipped_fraction: float


def served_now(cluster: Cluster, target: Target) -> dict[str, Any] | None:
    """Returns the live InferenceService, or None when there is none yet."""
    return cluster.get(object_path(target.reference))


def storage_uri_of(service: dict[str, Any] | None) -> str:
    """Returns where the served model lies; '' when nothing is served."""
    predictor = (service or {}).get("spec", {}).get("predictor", {})
    return str(predictor.get("model", {}).get("storageUri", ""))


def serve(
    cluster: Cluster,
    target: Target,
    manifest: dict[str, Any],
    candidate: Candidate,
    previous: dict[str, Any] | None,
    rollout: Rollout,
) -> str:
    """Applies the manifest and returns the URL once the cluster serves exactly this model.

    Raises:
        DeployError: the cluster refused, the model did not become ready, or the masks differ. What
            was served before is served again.
    """
    if rollout.predictor_image:
        runtime = render_serving_runtime(target.namespace, rollout.predictor_image)
        live = cluster.get(object_path(runtime))
        cluster.apply(with_what_others_set(runtime, live))
    cluster.apply(manifest)
    logger.info("applied name=%s namespace=%s", target.name, target.namespace)
    try:
        url = wait_until_served(cluster, target, candidate.digest, rollout.patience)
        check_served(url, target.name, candidate, rollout.max_flipped_fraction)
    except DeployError as error:
        outcome = roll_back(cluster, target, manifest, previous, rollout.patience)
        raise DeployError(error.where, error.found, error.expected, outcome) from error
    return url


def with_what_others_set(runtime: dict[str, Any], live: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the ServingRuntime to apply: of one that others have applied, too, only our image.

    Its list of containers has no merge keys, so applying our own would take away what an overlay
    put there: the engine's argument, the GPU's resources.
    """
    managers = (live or {}).get("metadata", {}).get("managedFields", [])
    others = [entry for entry in managers if entry.get("manager") != FIELD_MANAGER]
    if live is None or not any("f:spec" in entry.get("fieldsV1", {}) for entry in others):
        return runtime
    kept = copy.deepcopy(live_values({**runtime, "metadata": {}}, live))
    (ours,) = runtime["spec"]["containers"]
    for container in kept["spec"]["containers"]:
        if container["name"] == ours["name"]:
            container["image"] = ours["image"]
    return {**kept, "metadata": runtime["metadata"]}


def roll_back(
    cluster: Cluster,
    target: Target,
    manifest: dict[str, Any],
    previous: dict[str, Any] | None,
    patience: Patience,
) -> str:
    """Applies what was live before; returns one clause on how that went.

    Where nothing was served before, nothing is served afterwards: the InferenceService stays, to be
    looked at, and is stopped. The next deployment starts it.
    """
    uri = storage_uri_of(previous)
    try:
        if previous is None or not uri:
            cluster.apply(stopped(manifest))
            return f"nothing was served before, so it is stopped (annotation {STOP})"
        cluster.apply(live_values(manifest, previous))
        digest = previous["metadata"].get("annotations", {}).get(f"{PREFIX}/model-digest")
        if digest is None:  # not one of this step's: nothing to recognise its pods by
            return f"rolled back to {uri}"
        wait_until_served(cluster, target, digest, patience)
    except DeployError as error:
        logger.error("rollback failed name=%s error=%s", target.name, error)
        return f"the rollback to {uri or 'nothing'} failed too ({error.found})"
    return f"rolled back to {uri}, which is ready"


def live_values(manifest: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    """Returns the manifest with the values that its fields have in a live object.

    Fields that the live object lacks are left out, so that server-side apply removes them.
    """
    restored = {
        key: live_values(value, live[key])
        if isinstance(value, dict) and isinstance(live.get(key), dict)
        else live[key]
        for key, value in manifest.items()
        if key in live
    }
    return {**{key: manifest[key] for key in _KEYS if key in manifest}, **restored}
