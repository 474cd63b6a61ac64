"""The deploy step's work: gate, publish, render, apply, and the record of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.cli import ArtifactMetadata, output_folder
from components.deploy.candidate import read_candidate
from components.deploy.gate import Thresholds, check_candidate, require_passed
from components.deploy.inference_service import Target, render_inference_service, to_yaml
from components.deploy.publishing import publish
from segmentor.object_store import ObjectStore

MANIFEST_FILE = "inference_service.yaml"
RECORD_FILE = "deployment.json"
SCHEMA_VERSION = 1


def deploy(
    model: Path,
    evaluation: Path,
    parity: Path,
    deployment: Path,
    target: Target,
    thresholds: Thresholds,
    destination: str,
    version: str,
    apply: bool,
) -> ArtifactMetadata:
    """Runs the step and returns the metadata of its output.

    Raises:
        DeployError: the gate, the version or the cluster refused.
        ContractError: an input is not what it should be.
        StoreError: the object store is away, or refuses.
    """
    candidate = read_candidate(model, evaluation, parity)
    checks = check_candidate(candidate, thresholds)
    require_passed(checks)
    publication = publish(
        ObjectStore.from_environment(), destination, target.name, version, candidate, checks
    )
    manifest = render_inference_service(
        target,
        publication.uri,
        publication.version,
        candidate.digest,
        candidate.contract.provenance,
        str(candidate.evaluation.get("dataset_digest", "")),
    )
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": target.name,
        "namespace": target.namespace,
        "version": publication.version,
        "uri": publication.uri,
        "model_digest": candidate.digest,
        "checkpoint_digest": candidate.evaluation["checkpoint_digest"],
        "dataset_digest": candidate.evaluation.get("dataset_digest"),
        "gate": [asdict(check) for check in checks],
        "published": publication.is_new,
        "applied": apply,
    }
    with output_folder(deployment) as folder:
        (folder / MANIFEST_FILE).write_text(to_yaml(manifest), encoding="utf-8")
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / RECORD_FILE).write_text(text, encoding="utf-8")
    keys = ("name", "version", "model_digest", "applied")
    return {"deployment": {"storage_uri": publication.uri, **{key: record[key] for key in keys}}}
