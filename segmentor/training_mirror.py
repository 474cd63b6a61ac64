"""Copies of unfinished trainings in the object store: where they are, and when they are removed.

KFP starts a lost pod again on an empty disk, so in a pod train keeps a copy of its state at
`<destination>/.training/<key>/`. Model names do not begin with a dot. Once the checkpoint is done,
a small file beside the copy names it; deploy, which needs the checkpoint no more, removes both.
A training on several nodes has its inputs and outputs in the same folder.
"""

import datetime
import json
import logging
from collections import defaultdict
from collections.abc import Iterable

from segmentor.digests import digest_json
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri

logger = logging.getLogger(__name__)

FOLDER = ".training"
FINISHED = "finished.json"
STALE_AFTER = datetime.timedelta(days=14)


def mirror_key(fingerprint: str, cache_salt: str) -> str:
    """Return the name of a training's folder: another salt asks for another training."""
    return digest_json([fingerprint, cache_salt]).removeprefix("sha256:")[:16]


def mirrors_of(destination: str) -> ObjectUri:
    """Return the folder of all copies beside the models published at `destination`."""
    return ObjectUri.parse(destination).child(FOLDER)


def finished_text(checkpoint_digest: str) -> bytes:
    """Return the content of the file that says which checkpoint a training ended with."""
    return json.dumps({"checkpoint_digest": checkpoint_digest}).encode()


def remove_finished(store: ObjectStore, destination: str, checkpoint_digest: str) -> None:
    """Remove the copy of the training that ended with this checkpoint; never raises."""
    expected = finished_text(checkpoint_digest)
    try:
        keys = list(store.list_keys(mirrors_of(destination)))
        marks = [uri for uri in keys if uri.key.endswith(f"/{FINISHED}")]
        folders = [mark.parent() for mark in marks if store.read(mark) == expected]
        for folder in folders:
            _remove(store, folder, (uri for uri in keys if uri.key.startswith(f"{folder.key}/")))
    except StoreError as error:  # what is left is removed when it is stale
        logger.warning("mirror not removed: %s", error)


def remove_stale(store: ObjectStore, destination: str) -> None:
    """Remove the copies that nobody has written for two weeks; never raises."""
    try:
        folders: dict[ObjectUri, dict[ObjectUri, datetime.datetime]] = defaultdict(dict)
        mirrors = mirrors_of(destination)
        for uri, written, *_ in store.list_objects(mirrors):
            training = uri.key.removeprefix(f"{mirrors.key}/").partition("/")[0]
            folders[mirrors.child(training)][uri] = written
        limit = datetime.datetime.now(datetime.UTC) - STALE_AFTER
        for folder, files in folders.items():
            if max(files.values()) < limit:
                _remove(store, folder, files)
    except StoreError as error:
        logger.warning("stale mirrors not removed: %s", error)


def _remove(store: ObjectStore, folder: ObjectUri, files: Iterable[ObjectUri]) -> None:
    for uri in files:
        store.remove(uri)
    logger.info("mirror removed uri=%s", folder)
