"""Makes a cluster serve a published model: apply, wait, golden request, or back to what was."""

import logging
from dataclasses import dataclass
from typing import Any

from components.deploy.addresses import find_address
from components.deploy.candidate import Candidate
from components.deploy.cluster import Cluster, object_path
from components.deploy.golden import check_served
from components.deploy.inference_service import STOP, Target, stopped
from components.deploy.live_service import Served, identity_of, model_digest_of, storage_uri_of
from components.deploy.rollout import Patience, Wanted, wait_until_served
from components.deploy.runtime_image import ImageChange, plan_image_change
from segmentor.errors import DeployError, SegmentorError

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


def serve(
    cluster: Cluster,
    target: Target,
    manifest: dict[str, Any],
    candidate: Candidate,
    previous: Served,
    rollout: Rollout,
) -> str:
    """Applies the manifest and returns the URL once the cluster serves exactly this model.

    Whatever ends it early, an interrupt too, is raised again after the rollback.

    Raises:
        DeployError: the cluster refused, the model did not become ready, or the masks differ. What
            was served before is served again.
    """
    change = None
    if rollout.predictor_image:
        change = plan_image_change(cluster, target.namespace, rollout.predictor_image)
    try:
        if change is not None:
            change.make(cluster)
        cluster.apply(manifest)
        logger.info("applied name=%s namespace=%s", target.name, target.namespace)
        wanted = Wanted(candidate.digest, change.old_image if change is not None else "")
        url = wait_until_served(cluster, target, wanted, rollout.patience)
        url = find_address(url)
        check_served(url, target.name, candidate, rollout.max_flipped_fraction)
    except BaseException as error:
        # Who is interrupted is not left the time to wait: a pod is killed 30 s after its SIGTERM.
        patience = rollout.patience if isinstance(error, Exception) else None
        outcome = roll_back(cluster, target, manifest, previous, change, patience)
        logger.error("deployment failed name=%s outcome=%r", target.name, outcome)
        if isinstance(error, SegmentorError):
            remedy = "; ".join(filter(None, [error.remedy, outcome]))
            raise type(error)(error.where, error.found, error.expected, remedy) from error
        error.add_note(outcome)
        raise
    return url


def roll_back(
    cluster: Cluster,
    target: Target,
    manifest: dict[str, Any],
    previous: Served,
    change: ImageChange | None,
    patience: Patience | None,
) -> str:
    """Applies what was live before; returns one clause on how that went.

    Where nothing was served before, nothing is served afterwards: the InferenceService stays, to be
    looked at, and is stopped. The next deployment starts it. What somebody else has deployed
    meanwhile stays as it is.

    Args:
        cluster: Where it was deployed.
        target: Which InferenceService.
        manifest: What was applied, or was about to be.
        previous: What there was before.
        change: Of the ServingRuntime.
        patience: How long to wait until it is served; None does not wait.
    """
    try:
        live = cluster.get(object_path(target.reference))
        found = identity_of(live)
        is_ours = found == identity_of(manifest)
        if not is_ours and live is not None and found != identity_of(previous.live):
            return f"{found[0]} was deployed meanwhile, and nothing of it was changed"
        if change is not None:
            change.undo(cluster)
        if not is_ours:
            return "the InferenceService is as it was before"
        image = change.new_image if change is not None else ""
        return _restore(cluster, target, manifest, previous, image, patience)
    except DeployError as error:
        logger.error("rollback failed name=%s error=%s", target.name, error)
        return f"the rollback to {previous.uri or 'nothing'} failed too ({error.found})"


def _restore(
    cluster: Cluster,
    target: Target,
    manifest: dict[str, Any],
    previous: Served,
    failed_image: str,
    patience: Patience | None,
) -> str:
    if previous.live is None or not previous.uri:
        cluster.apply(stopped(manifest))
        named = storage_uri_of(previous.live)
        why = f" ({named} was not served)" if named else ""
        return f"nothing was served before{why}, so it is stopped (annotation {STOP})"
    cluster.apply(live_values(manifest, previous.live))
    digest = model_digest_of(previous.live)
    # One that this step did not deploy has nothing to recognise its pods by.
    if not digest or patience is None:
        return f"rolled back to {previous.uri}, not waited for"
    wait_until_served(cluster, target, Wanted(digest, failed_image), patience)
    return f"rolled back to {previous.uri}, which is ready"


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
