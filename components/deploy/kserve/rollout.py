"""Makes a cluster serve a published model: apply, wait, golden request; roll back on failure."""

import logging
from dataclasses import dataclass
from typing import Any

from components.deploy.gate.candidate import Candidate
from components.deploy.kserve.addresses import find_address
from components.deploy.kserve.field_owners import earlier_values
from components.deploy.kserve.golden import check_served
from components.deploy.kserve.inference_service import STOP, Target, stopped
from components.deploy.kserve.live_service import (
    Served,
    describe,
    identity_of,
    marks_of,
    storage_uri_of,
)
from components.deploy.kserve.waiting import Patience, require_deployed, wait_until_served
from components.kubernetes_api import Cluster, object_path
from segmentor.errors import DeployError, SegmentorError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rollout:
    """How long a deployment may take, and how exact its masks must be."""

    patience: Patience
    max_flipped_fraction: float


def serve(
    cluster: Cluster,
    target: Target,
    manifest: dict[str, Any],
    candidate: Candidate,
    previous: Served,
    rollout: Rollout,
) -> str:
    """Apply the manifest and return the URL once the cluster serves exactly this model.

    Whatever ends it early, even an interrupt, is raised again after the rollback.

    Raises:
        DeployError: the cluster refused, the model did not become ready, or the masks differ. What
            was served before is served again.
    """
    try:
        cluster.apply(manifest)
        logger.info("applied name=%s namespace=%s", target.name, target.namespace)
        url = wait_until_served(cluster, target, manifest, rollout.patience)
        url = find_address(url)
        check_served(url, target.name, candidate, rollout.max_flipped_fraction)
        # Two runs may publish the same bytes as different versions: both would answer alike.
        require_deployed(cluster, target, manifest)
    except BaseException as error:
        # An interrupt leaves no time to wait: a pod is killed 30 s after its SIGTERM.
        patience = rollout.patience if isinstance(error, Exception) else None
        outcome = roll_back(cluster, target, manifest, previous, patience)
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
    patience: Patience | None,
) -> str:
    """Apply what was live before; return one clause on how that went.

    Where nothing was served before, nothing is served afterwards: the InferenceService is kept, so
    that it can be looked at, and is stopped. The next deployment starts it. What somebody else has
    deployed meanwhile stays as it is.

    Args:
        cluster: Where it was deployed.
        target: The InferenceService.
        manifest: What was applied, or was about to be.
        previous: What was there before.
        patience: How long to wait until it is served; None does not wait.
    """
    try:
        live = cluster.get(object_path(target.reference))
        found = identity_of(live)
        is_ours = found == identity_of(manifest)
        if not is_ours and live is not None and found != identity_of(previous.live):
            return f"{describe(live)} was deployed meanwhile, and nothing of it was changed"
        if not is_ours:
            return "the InferenceService is as it was before"
        return _restore(cluster, target, manifest, previous, patience)
    except DeployError as error:
        logger.error("rollback failed name=%s error=%s", target.name, error)
        return f"the rollback to {previous.uri or 'nothing'} failed too ({error.found})"


def _restore(
    cluster: Cluster,
    target: Target,
    manifest: dict[str, Any],
    previous: Served,
    patience: Patience | None,
) -> str:
    if previous.live is None or not previous.uri:
        cluster.apply(stopped(manifest))
        named = storage_uri_of(previous.live)
        why = f" ({named} was not served)" if named else ""
        return f"nothing was served before{why}, so it is stopped (annotation {STOP})"
    earlier = earlier_values(manifest, previous.live)
    cluster.apply(earlier)
    # A version that this step did not deploy has nothing to recognise its pods by.
    if not marks_of(earlier) or patience is None:
        return f"rolled back to {previous.uri}, not waited for"
    wait_until_served(cluster, target, earlier, patience)
    return f"rolled back to {previous.uri}, which is ready"
