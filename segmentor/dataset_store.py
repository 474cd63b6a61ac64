"""Data sets in the object store: shards that all of them share, and a record of each.

    <destination>/.datasets/shards/shard-<hex>.tar
    <destination>/.datasets/<source>/<digest>/manifest.json
                                              samples.jsonl.gz   last: the data set is whole

Shards never change, and converting an export again makes the same ones. `<source>` tells what the
export was when it was converted: check_deployment looks there whether what KFP's cache would return
is still whole. Pruning leaves the manifest for it. Model names do not begin with a dot.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmentor.dataset import MANIFEST
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.retrying import is_in_pod
from segmentor.sample_lines import SAMPLES
from segmentor.shards import ShardList

logger = logging.getLogger(__name__)

FOLDER = ".datasets"
SHARDS = "shards"
# Of the source's state: enough to tell sources apart.
_DIGITS = 16


@dataclass(frozen=True)
class ShardPlace:
    """Where full shards go, and what artifacts call the place; see `DatasetWriter`."""

    location: str
    keep: Callable[[Path], None]


@contextlib.contextmanager
def shard_place(destination: str) -> Iterator[ShardPlace]:
    """Yield where shards go: in a pod to the object store, elsewhere into the artifact.

    At the end all of them are where they should be.

    Raises:
        StoreError: the store is away, or refuses.
    """
    if not is_in_pod():
        yield ShardPlace(".", lambda _: None)
        return
    folder = datasets_of(destination).child(SHARDS)
    store = ObjectStore.from_environment()
    store.ensure_bucket(folder.bucket)
    upload = _Upload(store, folder)
    yield ShardPlace(str(folder), upload.keep)
    upload.wait()


class _Upload:
    """Uploads one shard while the next is written, so that at most two are on the disk."""

    def __init__(self, store: ObjectStore, folder: ObjectUri) -> None:
        self._store, self._folder = store, folder
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def keep(self, path: Path) -> None:
        """Begin to upload a shard; it is removed from the disk once it is in the store."""
        self.wait()
        # A daemon: a step that is ended must not wait until a store is back.
        self._thread = threading.Thread(target=self._send, args=(path,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the upload in progress, and raise what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _send(self, path: Path) -> None:
        try:
            self._store.upload_file(path, self._folder.child(path.name), "application/x-tar")
            path.unlink()
        except BaseException as error:
            self._failure = error


def datasets_of(destination: str) -> ObjectUri:
    """Return the folder of all data sets beside the models published at `destination`."""
    return ObjectUri.parse(destination).child(FOLDER)


def commit(folder: Path, destination: str, source_state: str) -> None:
    """Record a data set whose shards are in the store; does nothing outside a pod.

    Args:
        folder: The artifact.
        destination: Where models are published.
        source_state: What the export was, as `source_state` says it.
    """
    if not is_in_pod():
        return
    store = ObjectStore.from_environment()
    digest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["digest"]
    record = _source_folder(destination, source_state).child(digest.removeprefix("sha256:"))
    for name in (MANIFEST, SAMPLES):
        store.upload_file(folder / name, record.child(name))


def lost_data_sets(store: ObjectStore, destination: str, source_state: str) -> list[str]:
    """Return the digests of data sets of this source whose shards are gone, and say so."""
    records = [
        json.loads(store.read(uri))
        for uri in store.list_keys(_source_folder(destination, source_state))
        if uri.key.endswith(f"/{MANIFEST}")
    ]
    if not records:
        return []
    folder = datasets_of(destination).child(SHARDS)
    there = {uri.key.rpartition("/")[2] for uri in store.list_keys(folder)}
    lost = []
    for manifest in records:
        names = _shard_list(manifest).files
        missing = [name for name in names if name not in there]
        if missing:
            lost.append(str(manifest["digest"]))
            logger.warning(
                "data set %s, converted from this source before, lacks %d of %d shards in %s: "
                "the source is converted again",
                *(manifest["digest"], len(missing), len(names), folder),
            )
    return sorted(lost)


def _shard_list(manifest: dict[str, Any]) -> ShardList:
    return ShardList.from_json(manifest["shards"])


def _source_folder(destination: str, source_state: str) -> ObjectUri:
    name = source_state.removeprefix("sha256:")[:_DIGITS]
    return datasets_of(destination).child(name)
