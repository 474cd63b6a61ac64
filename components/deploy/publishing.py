"""Publishes a model under an immutable version: equal content again changes nothing."""

import json
import logging
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.deploy.candidate import EVALUATION_FILE, PER_IMAGE_FILE, Candidate
from components.deploy.gate import Check
from segmentor.digests import digest_bytes, digest_file
from segmentor.errors import ConfigError, DeployError, StoreError
from segmentor.model_samples import RECORD_FILE, SAMPLES_FOLDER
from segmentor.object_store import ObjectStore, ObjectUri
from segmentor.onnx_model import INT8_FILE, MODEL_FILE

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_BINARY = "application/octet-stream"
_MEDIA_TYPES = {EVALUATION_FILE: "application/json", PER_IMAGE_FILE: "text/csv", INT8_FILE: _BINARY}
# A label value of Kubernetes, and one segment of a key.
_VERSION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Publication:
    """Where a version is, and whether this run put it there."""

    uri: str
    version: str
    is_new: bool


def require_version(version: str) -> None:
    """Refuses a version that cannot be published under.

    Raises:
        ConfigError: it is not of the characters that Kubernetes takes.
    """
    if not _VERSION.fullmatch(version):
        raise ConfigError("--version", f"'{version}'", "up to 63 letters, digits, '.', '_', '-'")


def version_folder(destination: str, name: str, version: str) -> ObjectUri:
    """Returns where a version is published."""
    return ObjectUri.parse(destination).child(name).child(version)


def publish(
    store: ObjectStore,
    destination: str,
    name: str,
    version: str,
    candidate: Candidate,
    checks: Sequence[Check],
) -> Publication:
    """Uploads the files of a candidate below <destination>/<name>/<version>/.

    An interrupted publish is completed by the next one.

    Args:
        store: Where to.
        destination: `s3://bucket[/prefix]`.
        name: Of the model.
        version: '' takes the first 12 hex digits of the model's digest.
        candidate: What to publish.
        checks: What the gate found, for the record.

    Raises:
        DeployError: the version holds another model.
        StoreError: the store is away, or refuses.
    """
    version = version or candidate.version
    require_version(version)
    folder = version_folder(destination, name, version)
    # The slash matters: KServe's storage-initializer takes the URI as a plain prefix, and
    # 's3://models/road' would also fetch 's3://models/road-2/...' (kserve#3776).
    publication = Publication(
        f"{folder}/", version, is_new=not _is_published(store, folder, candidate)
    )
    if not publication.is_new:
        logger.info("already published uri=%s digest=%s", publication.uri, candidate.digest)
        return publication
    store.ensure_bucket(folder.bucket)
    _upload(store, folder, candidate, describe(name, version, candidate, checks))
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
        for file, kind in _MEDIA_TYPES.items():
            if file in candidate.files:
                store.upload_file(candidate.files[file], folder.child(file), kind)
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        written.write_text(text, encoding="utf-8")
        store.upload_file(written, folder.child(RECORD_FILE), "application/json")
        # Last: whoever sees it sees a whole version.
        store.upload_file(candidate.files[MODEL_FILE], folder.child(MODEL_FILE))


def describe(
    name: str, version: str, candidate: Candidate, checks: Sequence[Check]
) -> dict[str, Any]:
    """Returns the content of model.json: digests, a summary of the contract, what was measured."""
    evaluation = candidate.evaluation
    contract = candidate.contract.to_json()
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "version": version,
        "model_digest": candidate.digest,
        "files": {file: digest_file(path) for file, path in sorted(candidate.files.items())},
        "samples": {file: digest_bytes(content) for file, content in _kept(candidate).items()},
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
    """Images and masks by the names that they have below `samples/`."""
    return {**candidate.samples, **candidate.sample_masks}


def _is_published(store: ObjectStore, folder: ObjectUri, candidate: Candidate) -> bool:
    """True when the version is whole and equal; False when it is free, or half of it is there."""
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
