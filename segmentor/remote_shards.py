"""Read samples from shards in the object store: exactly their bytes, fetched ahead, and verified.

A sample's image and mask lie next to each other in a shard, so one range request gets both;
neighbours are fetched together. What was fetched is checked against the recorded digests. A cache
on the local disk holds as many samples as it has room for, always the same ones: the first of the
list. One that replaced its oldest samples would be of no use, as every epoch reads all of them.
"""

import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmentor.digests import digest_bytes
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri

if TYPE_CHECKING:
    from segmentor.dataset import Sample

logger = logging.getLogger(__name__)

# Requests at once. More hide more latency; with 8, 50 ms are hidden behind 100 images a second.
_REQUESTS = 8
# Of samples that were fetched and not yet used, in memory.
HELD_BYTES = 64 * 1024**2
# Samples this close are fetched with one request, of at most so many bytes.
_GAP = 16 * 1024
_RUN_BYTES = 4 * 1024**2
# Attempts to get bytes of the recorded digest: another attempt mends what the way has changed.
_ATTEMPTS = 3
# Of the free disk: the data sets of a training have a cache each.
_SHARE_OF_DISK = 4


class RemoteShards:
    """Shards in a folder of the object store; threads and forked processes may share it."""

    def __init__(
        self,
        location: str,
        names: Sequence[str],
        samples: Callable[[], Iterator["Sample"]],
        cache_bytes: int,
    ) -> None:
        """Prepare to read; nothing is fetched yet.

        Args:
            location: The URI of the folder.
            names: The shards, in their order.
            samples: Yields the samples of the list in order.
            cache_bytes: How much may be kept on the local disk.
        """
        self._uri, self._names = ObjectUri.parse(location), names
        self._cache = DiskCache(names, samples, cache_bytes)
        self._lock = threading.Lock()
        self._fetcher: _Fetcher | None = None

    def image(self, sample: "Sample") -> bytes:
        """Return the encoded image.

        Raises:
            StoreError: the store is away, refuses, or has other bytes than were recorded.
        """
        return self._own_fetcher().piece(sample, "image")[: sample.image_bytes]

    def mask(self, sample: "Sample") -> bytes:
        """Return the encoded mask; see `image`."""
        piece = self._own_fetcher().piece(sample, "mask")
        return piece[sample.mask_offset - sample.image_offset :]

    def prefetch(self, samples: Iterable["Sample"]) -> None:
        """Begin to fetch what will be asked for soon, as far as there is room for it."""
        self._own_fetcher().prefetch(samples)

    def _own_fetcher(self) -> "_Fetcher":
        # Neither threads nor connections survive a fork.
        with self._lock:
            if self._fetcher is None or self._fetcher.process != os.getpid():
                store = ObjectStore.from_environment()
                self._fetcher = _Fetcher(store, self._uri, self._names, self._cache)
            return self._fetcher

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None, "_fetcher": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _size(sample: "Sample") -> int:
    return sample.mask_offset + sample.mask_bytes - sample.image_offset


def _is_whole(sample: "Sample", piece: bytes) -> bool:
    mask = sample.mask_offset - sample.image_offset
    return (
        len(piece) == _size(sample)
        and digest_bytes(memoryview(piece)[: sample.image_bytes]) == sample.image_digest
        and digest_bytes(memoryview(piece)[mask:]) == sample.mask_digest
    )


@dataclass
class _Held:
    """A piece that is being fetched or is there, and which of image and mask were asked for."""

    future: "Future[bytes]"
    size: int
    used: set[str] = field(default_factory=set)


class _Fetcher:
    """What one process has fetched, and is fetching."""

    def __init__(
        self, store: ObjectStore, uri: ObjectUri, names: Sequence[str], cache: "DiskCache"
    ) -> None:
        self.process = os.getpid()
        self._store, self._uri, self._names, self._cache = store, uri, names, cache
        self._pool = ThreadPoolExecutor(_REQUESTS, "shards")
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[int, int], _Held] = OrderedDict()
        self._bytes = 0

    def piece(self, sample: "Sample", part: str) -> bytes:
        """Return image and mask with what lies between; it is kept until both were asked for."""
        key = (sample.shard, sample.image_offset)
        with self._lock:
            held = self._held.get(key)
            if held is None:
                held = self._hold(sample)
                must_load = True
            else:
                must_load = False
            held.used.add(part)
        try:
            if must_load:
                self._load([sample], [held.future])
            return held.future.result()
        finally:
            if len(held.used) == 2 or held.future.exception() is not None:
                with self._lock:
                    self._drop(key)

    def prefetch(self, samples: Iterable["Sample"]) -> None:
        """Fetch in the background what there is room for."""
        wanted: list[tuple[Sample, Future[bytes]]] = []
        with self._lock:
            for sample in samples:
                if (sample.shard, sample.image_offset) in self._held:
                    continue
                if not self._make_room(_size(sample)):
                    break
                wanted.append((sample, self._hold(sample).future))
        wanted.sort(key=lambda item: (item[0].shard, item[0].image_offset))
        for run in _runs(wanted):
            self._pool.submit(self._load, [item[0] for item in run], [item[1] for item in run])

    def _load(self, run: Sequence["Sample"], futures: Sequence["Future[bytes]"]) -> None:
        """Get neighbouring samples out of the cache, or with one request."""
        try:
            pieces = [self._cache.read(self._names[sample.shard], sample) for sample in run]
            if None in pieces:
                pieces = [*self._fetch(run)]
                for sample, piece in zip(run, pieces, strict=True):
                    self._cache.write(self._names[sample.shard], sample, piece or b"")
            for future, piece in zip(futures, pieces, strict=True):
                future.set_result(piece or b"")
        except BaseException as error:  # whoever waits for the future has to know it
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    def _fetch(self, run: Sequence["Sample"]) -> list[bytes]:
        start = run[0].image_offset
        size = run[-1].image_offset + _size(run[-1]) - start
        uri = self._uri.child(self._names[run[0].shard])
        for _ in range(_ATTEMPTS):
            content = self._store.read_range(uri, start, size)
            pieces = [content[sample.image_offset - start :][: _size(sample)] for sample in run]
            damaged = [
                sample.id
                for sample, piece in zip(run, pieces, strict=True)
                if not _is_whole(sample, piece)
            ]
            if not damaged:
                return pieces
            logger.warning("wrong bytes uri=%s sample=%s: fetched again", uri, damaged[0])
        raise StoreError(
            str(uri),
            f"bytes of {damaged[0]} (at {start}) with another digest than was recorded",
            "the shard that convert_labels uploaded",
            "convert the export again: equal shards replace the damaged one",
        )

    def _hold(self, sample: "Sample") -> _Held:
        held = _Held(Future(), _size(sample))
        self._held[sample.shard, sample.image_offset] = held
        self._bytes += held.size
        self._make_room(0)
        return held

    def _make_room(self, size: int) -> bool:
        """Drop used pieces, the oldest first, until there is room; False if there is none."""
        for key, held in list(self._held.items()) if self._bytes + size > HELD_BYTES else []:
            if held.used and held.future.done():
                self._drop(key)
            if self._bytes + size <= HELD_BYTES:
                break
        return self._bytes + size <= HELD_BYTES

    def _drop(self, key: tuple[int, int]) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held.size


def _runs(
    wanted: Iterable[tuple["Sample", "Future[bytes]"]],
) -> Iterator[list[tuple["Sample", "Future[bytes]"]]]:
    """Yield neighbours of one shard together, as far as one request should fetch them."""
    run: list[tuple[Sample, Future[bytes]]] = []
    for sample, future in wanted:
        if run:
            first, last = run[0][0], run[-1][0]
            gap = sample.image_offset - (last.image_offset + _size(last))
            size = sample.image_offset + _size(sample) - first.image_offset
            if last.shard != sample.shard or gap > _GAP or size > _RUN_BYTES:
                yield run
                run = []
        run.append((sample, future))
    if run:
        yield run


class DiskCache:
    """The first samples of a list, as far as they fit, on the local disk.

    A file a shard with holes: a sample lies where it lies in the shard. Nothing says what is
    there but the digests, so processes may share the files and be killed at any time.
    """

    def __init__(
        self,
        names: Sequence[str],
        samples: Callable[[], Iterator["Sample"]],
        most_bytes: int,
    ) -> None:
        self._samples, self._most_bytes = samples, most_bytes
        self.folder = Path(tempfile.mkdtemp(prefix="segmentor-shards-"))
        self._is_full = False
        weakref.finalize(self, _remove, self.folder, os.getpid())

    @cached_property
    def _end(self) -> tuple[int, int]:
        """Return the shard and offset of the first sample that there is no room for."""
        room = min(self._most_bytes, shutil.disk_usage(self.folder).free // _SHARE_OF_DISK)
        for sample in self._samples():
            room -= _size(sample)
            if room < 0:
                return sample.shard, sample.image_offset
        return 1 << 62, 0

    def read(self, name: str, sample: "Sample") -> bytes | None:
        """Return the piece of a sample if it is there and whole."""
        if (sample.shard, sample.image_offset) >= self._end:
            return None
        try:
            with (self.folder / name).open("rb") as file:
                piece = os.pread(file.fileno(), _size(sample), sample.image_offset)
        except FileNotFoundError:
            return None
        # No image begins with a zero, but holes do.
        return piece if piece[:1] > b"\0" and _is_whole(sample, piece) else None

    def write(self, name: str, sample: "Sample", piece: bytes) -> None:
        """Keep the piece of a sample if there is room for it."""
        if self._is_full or (sample.shard, sample.image_offset) >= self._end:
            return
        try:
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, piece, sample.image_offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._is_full = True
            logger.warning("cache of shards not written: %s", error)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not a worker that was forked from it
        shutil.rmtree(folder, ignore_errors=True)
