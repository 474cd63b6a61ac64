"""The deploy step's work: gate, publish, render, apply, and the record of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.cli import ArtifactMetadata, output_folder
from components.deploy.candidate import Candidate, read_candidate
from components.deploy.champion import check_champion
from components.deploy.cluster import FIELD_MANAGER, Cluster
from components.deploy.gate import Check, Thresholds, check_candidate, require_passed
from components.deploy.inference_service import (
    Target,
    render_inference_service,
    to_yaml,
    without_what_others_set,
)
from components.deploy.live_service import Served, served_now
from components.deploy.publishing import Publication, publish
from components.deploy.serving_cluster import Rollout, serve
from segmentor.object_store import ObjectStore

MANIFEST_FILE = "inference_service.yaml"
RECORD_FILE = "deployment.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """What to do with a candidate that passes; `rollout` is None when no cluster is touched.

    Of the images of `test` some are kept with the model.
    """

    target: Target
    thresholds: Thresholds
    destination: str
    version: str
    rollout: Rollout | None
    test: Path | None = None


def deploy(
    model: Path, evaluation: Path, parity: Path, deployment: Path, plan: Plan
) -> ArtifactMetadata:
    """Runs the step and returns the metadata of its output.

    Raises:
        DeployError: the gate, the version or the cluster refused.
        ContractError: an input is not what it should be.
        StoreError: the object store is away, or refuses.
    """
    candidate = read_candidate(model, evaluation, parity, plan.test)
    checks = check_candidate(candidate, plan.thresholds)
    store = ObjectStore.from_environment()
    cluster, previous = None, Served(None, "")
    if plan.rollout is not None:
        cluster = Cluster()
        previous = served_now(cluster, plan.target, store)
        if previous.uri:
            drop = plan.thresholds.max_iou_drop
            checks.append(check_champion(store, previous.uri, candidate, drop))
    require_passed(checks)
    publication = publish(
        store, plan.destination, plan.target.name, plan.version, candidate, checks
    )
    manifest = render_inference_service(
        plan.target,
        publication.uri,
        publication.version,
        candidate.digest,
        candidate.contract.provenance,
        str(candidate.evaluation.get("dataset_digest", "")),
    )
    url = ""
    if cluster is not None and plan.rollout is not None:
        manifest = without_what_others_set(manifest, previous.live, FIELD_MANAGER)
        url = serve(cluster, plan.target, manifest, candidate, previous, plan.rollout)
    record = _record(plan, candidate, checks, publication, previous.uri, url)
    with output_folder(deployment) as folder:
        (folder / MANIFEST_FILE).write_text(to_yaml(manifest), encoding="utf-8")
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / RECORD_FILE).write_text(text, encoding="utf-8")
    keys = ("name", "version", "model_digest", "applied", "url")
    return {"deployment": {"storage_uri": publication.uri, **{key: record[key] for key in keys}}}


def _record(
    plan: Plan,
    candidate: Candidate,
    checks: list[Check],
    publication: Publication,
    previous_uri: str,
    url: str,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": plan.target.name,
        "namespace": plan.target.namespace,
        "version": publication.version,
        "uri": publication.uri,
        "model_digest": candidate.digest,
        "checkpoint_digest": candidate.evaluation["checkpoint_digest"],
        "dataset_digest": candidate.evaluation.get("dataset_digest"),
        "gate": [asdict(check) for check in checks],
        "published": publication.is_new,
        "applied": plan.rollout is not None,
        "url": url,
        "previous_uri": previous_uri,
    }
