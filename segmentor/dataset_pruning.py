"""What of the data sets in the object store can be deleted, and its deletion.

Shards belong to the data sets that list them, and many lists may share a shard. KFP knows nothing
of them: deleting a run or its artifacts leaves them. So a person says which data sets are needed no
more, by their age, and a shard goes once none that is left lists it.
"""

import datetime
import json
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from segmentor.dataset import MANIFEST
from segmentor.dataset_store import SHARDS, datasets_of
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.sample_lines import SAMPLES
from segmentor.shards import ShardList

logger = logging.getLogger(__name__)

# A conversion may still be writing what no data set lists yet.
UNLISTED_AFTER = datetime.timedelta(days=7)


@dataclass(frozen=True)
class StoredDataset:
    """A data set in the store; `size` in bytes is that of its shards, which others may share."""

    folder: ObjectUri
    digest: str
    samples: int
    source: str
    written: datetime.datetime
    shards: Collection[str]
    size: int


@dataclass(frozen=True)
class Plan:
    """What to delete: data sets, and the shards that no other lists, with their bytes."""

    kept: tuple[StoredDataset, ...]
    removed: tuple[StoredDataset, ...]
    shards: dict[ObjectUri, int]
    unlisted: int

    @property
    def size(self) -> int:
        """Bytes that deleting frees."""
        return sum(self.shards.values())


def plan_pruning(
    store: ObjectStore, destination: str, older_than: datetime.timedelta | None
) -> Plan:
    """Look at what is there, and delete nothing.

    Args:
        store: The object store.
        destination: Where models are published; data sets lie beside them.
        older_than: Data sets of a greater age are to go; None keeps all of them.

    Raises:
        StoreError: the store is away, or refuses.
    """
    now = datetime.datetime.now(datetime.UTC)
    found = sorted(_stored(store, destination), key=lambda item: item.written)
    removed = tuple(item for item in found if older_than and now - item.written > older_than)
    kept = tuple(item for item in found if item not in removed)
    needed = {name for item in kept for name in item.shards}
    listed = needed.union(*(item.shards for item in removed))
    shards: dict[ObjectUri, int] = {}
    unlisted = 0
    for item in store.list_objects(datasets_of(destination).child(SHARDS)):
        name = item.uri.key.rpartition("/")[2]
        is_abandoned = name not in listed and now - item.written > UNLISTED_AFTER
        if is_abandoned or (name in listed and name not in needed):
            shards[item.uri] = item.size
            unlisted += is_abandoned
    return Plan(kept, removed, shards, unlisted)


def prune(store: ObjectStore, plan: Plan) -> None:
    """Delete what was planned: lists first, so that no data set seems whole without its shards.

    The manifests stay: check_deployment needs them to notice that KFP's cache returns a data set
    whose shards are gone.

    Raises:
        StoreError: the store is away, or refuses; the same command deletes the rest.
    """
    for item in plan.removed:
        store.remove(item.folder.child(SAMPLES))
    for uri in plan.shards:
        store.remove(uri)
    logger.info("pruned data_sets=%d shards=%d", len(plan.removed), len(plan.shards))


def _stored(store: ObjectStore, destination: str) -> Iterator[StoredDataset]:
    for uri, written, *_ in store.list_objects(datasets_of(destination)):
        if uri.key.endswith(f"/{SAMPLES}"):
            manifest: dict[str, Any] = json.loads(store.read(uri.parent().child(MANIFEST)))
            files = ShardList.from_json(manifest["shards"]).files
            yield StoredDataset(
                uri.parent(),
                manifest["digest"],
                manifest["samples"],
                str(manifest["provenance"].get("source", "")),
                written,
                frozenset(files),
                sum(files.values()),
            )
