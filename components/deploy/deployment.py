"""The deploy step's work: gate, publish, render, apply, and the record of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.cli import ArtifactMetadata, output_file, output_folder
from components.deploy.deployment_report import Outcome, build_report, draw_samples
from components.deploy.gate.candidate import Candidate, read_candidate
from components.deploy.gate.champion import check_champion
from components.deploy.gate.checks import (
    Check,
    check_candidate,
    log_checks,
    require_passed,
)
from components.deploy.kserve.caller import DEPLOYER
from components.deploy.kserve.field_owners import leave_to_others, release_runtime
from components.deploy.kserve.inference_service import Target, render_inference_service, to_yaml
from components.deploy.kserve.live_service import Served, served_now
from components.deploy.kserve.rollout import Rollout, serve
from components.deploy.kserve.waiting import Patience
from components.deploy.options import DeployOptions
from components.deploy.publishing import publish
from components.kubernetes_api import Cluster
from segmentor.errors import SegmentorError
from segmentor.object_store import ObjectStore
from segmentor.training_mirror import remove_finished

MANIFEST_FILE = "inference_service.yaml"
RECORD_FILE = "deployment.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """What to do with a candidate that passes the gate.

    `limits`: the options that the gate applies. `predictor_image`: '' uses the ServingRuntime's.
    `rollout`: None leaves the cluster alone.
    `test`: the test set, of which some images are published with the model.
    """

    target: Target
    limits: DeployOptions
    destination: str
    version: str
    predictor_image: str
    rollout: Rollout | None
    test: Path | None = None

    @classmethod
    def of(cls, options: DeployOptions, test: Path | None = None) -> "Plan":
        """Return what the options ask for."""
        rollout = Rollout(Patience(options.deploy_deadline), options.max_flipped_fraction)
        return cls(
            options.target(),
            options,
            options.destination,
            options.version,
            options.predictor_image,
            rollout if options.apply else None,
            test,
        )


def deploy(
    model: Path, evaluation: Path, parity: Path, deployment: Path, report: Path, plan: Plan
) -> ArtifactMetadata:
    """Run the step and return the metadata of its outputs.

    Args:
        model: Folder with model.onnx.
        evaluation: Folder that evaluate wrote.
        parity: File that export wrote.
        deployment: Output folder for the manifest and the record.
        report: Output file for the page.
        plan: What to do.

    Raises:
        DeployError: the gate, the version or the cluster refused.
        ContractError: an input is not what it should be.
        StoreError: the object store is away, or refuses.
    """
    candidate = read_candidate(model, evaluation, parity, plan.test)
    checks = check_candidate(candidate, plan.limits)
    store = ObjectStore.from_environment()
    # Evaluate and export have read the checkpoint: its training need never be continued.
    remove_finished(store, plan.destination, str(candidate.evaluation["checkpoint_digest"]))
    cluster, previous = None, Served(None, "")
    if plan.rollout is not None:
        cluster = Cluster(DEPLOYER)
        previous = served_now(cluster, plan.target, store)
        if previous.uri:
            drop = plan.limits.max_iou_drop
            checks.append(check_champion(store, previous.uri, candidate, drop))
    require_passed(checks)
    overlays = draw_samples(candidate)
    try:
        outcome, manifest = _publish_and_serve(store, cluster, candidate, checks, previous, plan)
    except SegmentorError:
        log_checks(checks)
        raise
    record = _record(candidate, outcome)
    page = build_report(candidate, outcome, overlays)
    with output_folder(deployment) as folder, output_file(report) as partial:
        (folder / MANIFEST_FILE).write_text(to_yaml(manifest), encoding="utf-8")
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / RECORD_FILE).write_text(text, encoding="utf-8")
        partial.write_text(page.html(), encoding="utf-8")
    keys = ("name", "version", "model_digest", "applied", "url")
    return {
        "deployment": {"storage_uri": record["uri"], **{key: record[key] for key in keys}},
        "deployment_report": page.metadata(),
    }


def _publish_and_serve(
    store: ObjectStore,
    cluster: Cluster | None,
    candidate: Candidate,
    checks: list[Check],
    previous: Served,
    plan: Plan,
) -> tuple[Outcome, dict[str, Any]]:
    """Return what was done, and the manifest."""
    publication = publish(
        store,
        plan.destination,
        plan.target.name,
        plan.version,
        candidate,
        checks,
        plan.limits.max_flipped_fraction,
    )
    manifest = render_inference_service(
        plan.target,
        publication.uri,
        publication.version,
        candidate.digest,
        plan.predictor_image,
        candidate.contract.provenance,
        str(candidate.evaluation.get("dataset_digest", "")),
    )
    url = ""
    if cluster is not None and plan.rollout is not None:
        release_runtime(cluster, plan.target.namespace)
        applied = leave_to_others(manifest, previous.live)
        url = serve(cluster, plan.target, applied, candidate, previous, plan.rollout)
    is_applied = plan.rollout is not None
    outcome = Outcome(plan.target, publication, checks, previous.uri, is_applied, url)
    return outcome, manifest


def _record(candidate: Candidate, outcome: Outcome) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": outcome.target.name,
        "namespace": outcome.target.namespace,
        "version": outcome.publication.version,
        "uri": outcome.publication.uri,
        "model_digest": candidate.digest,
        "checkpoint_digest": candidate.evaluation["checkpoint_digest"],
        "dataset_digest": candidate.evaluation.get("dataset_digest"),
        "gate": [asdict(check) for check in outcome.checks],
        "published": outcome.publication.is_new,
        "applied": outcome.is_applied,
        "url": outcome.url,
        "previous_uri": outcome.previous_uri,
    }
