"""Asks the store and the cluster all that deploy will, before there is a model; nothing stays."""

import logging

from components.deploy.cluster import FIELD_MANAGER, Cluster
from components.deploy.deployment import Plan
from components.deploy.inference_service import render_inference_service, without_what_others_set
from components.deploy.live_service import served_now
from components.deploy.publishing import require_version, version_folder
from components.deploy.runtime_image import plan_image_change
from segmentor.errors import DeployError, StoreError
from segmentor.object_store import ObjectStore, ObjectUri

logger = logging.getLogger(__name__)

# Stands for what only a trained model has.
_VERSION = "check"
_DIGEST = "sha256:" + "0" * 64


def rehearse(plan: Plan) -> None:
    """Refuses what deploy would refuse of this plan, as far as it can be known without a model.

    Raises:
        ConfigError: a version that is none.
        StoreError: the destination is no object store URI, or the store is away or refuses.
        DeployError: the cluster is away or refuses, or somebody has stopped the service.
    """
    if plan.version:
        require_version(plan.version)
    folder = version_folder(plan.destination, plan.target.name, _VERSION)
    store = ObjectStore.from_environment()
    try:
        next(iter(store.list_keys(ObjectUri.parse(plan.destination).child(plan.target.name))), None)
    except StoreError as error:
        if "NoSuchBucket" not in error.found:  # publishing makes it
            raise
    if plan.rollout is None:
        return
    cluster = Cluster()
    served = served_now(cluster, plan.target, store)
    manifest = render_inference_service(plan.target, f"{folder}/", _VERSION, _DIGEST, {}, "")
    manifests = [without_what_others_set(manifest, served.live, FIELD_MANAGER)]
    if plan.rollout.predictor_image:
        namespace, image = plan.target.namespace, plan.rollout.predictor_image
        change = plan_image_change(cluster, namespace, image)
        manifests += [change.wanted] if change.wanted != change.earlier else []
    for item in manifests:
        try:
            cluster.apply(item, dry_run=True)
        except DeployError as error:
            # Some policy engine's webhook: what the others say is not known then.
            if "does not support dry run" not in error.found:
                raise
        logger.info("would be applied kind=%s name=%s", item["kind"], item["metadata"]["name"])
