"""Asks the store and the cluster for all that deploy will need, and keeps nothing."""

import contextlib
import logging
from collections.abc import Iterator

from components.deploy.deployment import Plan
from components.deploy.kserve.caller import DEPLOYER
from components.deploy.kserve.field_owners import leave_to_others
from components.deploy.kserve.inference_service import render_inference_service
from components.deploy.kserve.live_service import served_now
from components.deploy.options import DeployOptions
from components.deploy.publishing import version_folder
from components.kubernetes_api import Cluster
from segmentor.dataset_store import lost_data_sets
from segmentor.errors import DeployError, StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.retrying import is_in_pod
from segmentor.store_connection import has_credentials
from segmentor.training_mirror import remove_stale

logger = logging.getLogger(__name__)

# Placeholders for what only a trained model has.
_VERSION = "check"
_DIGEST = "sha256:" + "0" * 64


def rehearse(plan: Plan) -> None:
    """Refuse what deploy would refuse of this plan, as far as that is known without a model.

    Raises:
        StoreError: the destination is not an object store URI, or the store does not answer or
            refuses.
        DeployError: the cluster does not answer or refuses, or somebody has stopped the service.
    """
    folder = version_folder(plan.destination, plan.target.name, _VERSION)
    store = ObjectStore.from_environment()
    try:
        next(iter(store.list_keys(ObjectUri.parse(plan.destination).child(plan.target.name))), None)
    except StoreError as error:
        if "NoSuchBucket" not in error.found:  # publishing creates it
            raise
    else:
        remove_stale(store, plan.destination)
    if plan.rollout is None:
        return
    cluster = Cluster(DEPLOYER)
    served = served_now(cluster, plan.target, store)
    manifest = leave_to_others(
        render_inference_service(
            plan.target, f"{folder}/", _VERSION, _DIGEST, plan.predictor_image
        ),
        served.live,
    )
    try:
        cluster.apply(manifest, dry_run=True)
    except DeployError as error:
        # The webhook of a policy engine: whether the cluster would accept it remains unknown.
        if "does not support dry run" not in error.found:
            raise
    logger.info("would be applied kind=%s name=%s", manifest["kind"], plan.target.name)


@contextlib.contextmanager
def secret_named(secret: str) -> Iterator[None]:
    """Name the Secret, in a pod, when the object store cannot be used without it.

    Raises:
        StoreError: there are no credentials, or the store refuses them.
    """
    remedy = f"create Secret {secret} in this namespace, or name another by object_store_secret"
    keys = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and S3_ENDPOINT"
    if is_in_pod() and not has_credentials():
        raise StoreError(f"Secret {secret}", "no credentials of the object store", keys, remedy)
    try:
        yield
    except StoreError as error:
        if not is_in_pod() or "AWS_ACCESS_KEY_ID" not in error.remedy:
            raise
        named = f"{error.remedy}; they come from Secret {secret}"
        raise StoreError(error.where, error.found, error.expected, named) from error


def lost_of(options: DeployOptions, source_state: str) -> list[str]:
    """Return the data sets of this source whose shards are gone from the store."""
    if not is_in_pod():
        return []
    try:
        return lost_data_sets(ObjectStore.from_environment(), options.destination, source_state)
    except StoreError as error:
        if "NoSuchBucket" not in error.found:  # convert_labels creates it
            raise
        return []
