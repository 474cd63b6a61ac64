"""Publishes a model under an immutable version: equal content again changes nothing."""

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.deploy.gate.candidate import EVALUATION_FILE, PER_IMAGE_FILE, Candidate
from components.deploy.gate.checks import Check
from segmentor.digests import digest_bytes, digest_file
from segmentor.errors import DeployError, StoreError
from segmentor.exported_files import media_types
from segmentor.model_samples import RECORD_FILE, SAMPLES_FOLDER
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.onnx_model import MODEL_FILE

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_MEDIA_TYPES = {EVALUATION_FILE: "application/json", PER_IMAGE_FILE: "text/csv"}


@dataclass(frozen=True)
class Publication:
    """Where a version is, and whether this run published it."""

    uri: str
    version: str
    is_new: bool


def version_folder(destination: str, name: str, version: str) -> ObjectUri:
    """Return where a version is published."""
    return ObjectUri.parse(destination).child(name).child(version)


def publish(
    store: ObjectStore,
    destination: str,
    name: str,
    version: str,
    candidate: Candidate,
    checks: Sequence[Check],
    max_flipped_fraction: float,
) -> Publication:
    """Upload the files of a candidate to <destination>/<name>/<version>/.

    An interrupted publication is completed by the next one.

    Args:
        store: The object store.
        destination: `s3://bucket[/prefix]`.
        name: Name of the model.
        version: '' takes the first 12 hex digits of the model's digest.
        candidate: What to publish.
        checks: The gate's results, for the record.
        max_flipped_fraction: Share of the golden images' pixels that a predictor may get wrong.

    Raises:
        DeployError: the version holds another model.
        StoreError: the store does not answer, or refuses.
    """
    version = version or candidate.version
    folder = version_folder(destination, name, version)
    # The slash matters: KServe's storage-initializer treats the URI as a plain prefix, so that
    # 's3://models/road' would also fetch 's3://models/road-2/...' (kserve#3776).
    publication = Publication(
        f"{folder}/", version, is_new=not _is_published(store, folder, candidate)
    )
    if not publication.is_new:
        logger.info("already published uri=%s digest=%s", publication.uri, candidate.digest)
        return publication
    store.ensure_bucket(folder.bucket)
    record = describe(name, version, candidate, checks, max_flipped_fraction)
    _upload(store, folder, candidate, record)
    arrived = digest_bytes(store.read(folder.child(MODEL_FILE)))
    if arrived != candidate.digest:
        raise StoreError(str(folder), f"a model with digest {arrived}", candidate.digest)
    return publication


def _upload(
    store: ObjectStore, folder: ObjectUri, candidate: Candidate, record: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        written = Path(temporary) / "written"
        for file, content in _kept(candidate).items():
            written.write_bytes(content)
            store.upload_file(written, folder.child(SAMPLES_FOLDER).child(file))
        for file, kind in {**_MEDIA_TYPES, **media_types()}.items():
            if file in candidate.files:
                store.upload_file(candidate.files[file], folder.child(file), kind)
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        written.write_text(text, encoding="utf-8")
        store.upload_file(written, folder.child(RECORD_FILE), "application/json")
        # Last: whoever sees the model sees a complete version.
        store.upload_file(candidate.files[MODEL_FILE], folder.child(MODEL_FILE))


def describe(
    name: str,
    version: str,
    candidate: Candidate,
    checks: Sequence[Check],
    max_flipped_fraction: float,
) -> dict[str, Any]:
    """Return the content of model.json: digests, a summary of the contract, what was measured."""
    evaluation = candidate.evaluation
    contract = candidate.contract.to_json()
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "version": version,
        "model_digest": candidate.digest,
        "files": {file: digest_file(path) for file, path in sorted(candidate.files.items())},
        "samples": {file: digest_bytes(content) for file, content in _kept(candidate).items()},
        "max_flipped_fraction": max_flipped_fraction,
        "contract": {key: contract[key] for key in ("label_map", "input", "output")},
        "provenance": candidate.contract.provenance,
        "evaluation": {
            "dataset_digest": evaluation.get("dataset_digest"),
            "samples": evaluation["samples"],
            "dataset": evaluation["dataset"],
        },
        "gate": [asdict(check) for check in checks],
    }


def _kept(candidate: Candidate) -> dict[str, bytes]:
    """Return images and masks by their names below `samples/`."""
    return {**candidate.samples, **candidate.sample_masks}


def _is_published(store: ObjectStore, folder: ObjectUri, candidate: Candidate) -> bool:
    """Return True if the version is complete and equal; False if it is free or incomplete."""
    try:
        existing = {uri.key.rsplit("/", 1)[-1]: uri for uri in store.list_keys(folder)}
    except StoreError as error:
        if "NoSuchBucket" in error.found:
            return False
        raise
    claimed = None
    if MODEL_FILE in existing:
        claimed = digest_bytes(store.read(existing[MODEL_FILE]))
    elif RECORD_FILE in existing:
        claimed = _recorded_digest(store.read(existing[RECORD_FILE]))
    if claimed not in (None, candidate.digest):
        raise DeployError(
            f"{folder}/",
            f"a model with digest {claimed}",
            f"a free version, or digest {candidate.digest}",
            "published versions never change: choose another --version",
        )
    return MODEL_FILE in existing and RECORD_FILE in existing


def _recorded_digest(content: bytes) -> str:
    try:
        return str(json.loads(content)["model_digest"])
    except (ValueError, KeyError, TypeError):
        return "unknown"
