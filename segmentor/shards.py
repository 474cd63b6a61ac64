"""Tar shards: which there are, where they lie, and how samples are read from them."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from segmentor.errors import ContractError
from segmentor.plurals import counted

if TYPE_CHECKING:
    from segmentor.dataset import Sample

# Of shards in the object store, kept on the local disk.
CACHE_BYTES = 16 * 1024**3


@dataclass
class ShardList:
    """The shards of a data set in their order: bytes by name.

    `location` is a path relative to the artifact, or the URI of a folder in the object store.
    """

    location: str
    files: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the manifest's entry."""
        return cls(value["location"], {file["name"]: file["bytes"] for file in value["files"]})

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Return the numbered shards that lie in an artifact of schema version 1."""
        return cls(".", {path.name: path.stat().st_size for path in sorted(folder.glob("shard-*"))})

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's entry."""
        files = [{"name": name, "bytes": size} for name, size in self.files.items()]
        return {"location": self.location, "files": files}

    @property
    def is_remote(self) -> bool:
        """Return True if the shards lie in the object store."""
        return "://" in self.location

    @property
    def addresses(self) -> list[str]:
        """Return where each shard is: a path relative to the artifact, or a URI."""
        if self.location == ".":
            return list(self.files)
        return [f"{self.location}/{name}" for name in self.files]

    def seen_from(self, folder: Path, other: Path) -> Self:
        """Return the list for an artifact in another folder, which need not exist yet."""
        if self.is_remote:
            return self
        shards = (folder / self.location).resolve()
        return type(self)(os.path.relpath(shards, other.resolve()), self.files)


class Shards(Protocol):
    """Reads the bytes of samples."""

    def image(self, sample: "Sample") -> bytes:
        """Return the encoded image."""

    def mask(self, sample: "Sample") -> bytes:
        """Return the encoded mask."""

    def prefetch(self, samples: Iterable["Sample"]) -> None:
        """Begin to fetch what will be asked for soon."""


def open_shards(
    shards: ShardList,
    folder: Path,
    samples: Callable[[], Iterator["Sample"]],
    cache_bytes: int,
) -> Shards:
    """Return the reader of a data set's shards.

    Args:
        shards: Which, and where.
        folder: The artifact.
        samples: Yields the artifact's samples in order.
        cache_bytes: How much of the object store's may be kept on the local disk.
    """
    if shards.is_remote:
        # Importing the client takes a second.
        from segmentor.remote_shards import RemoteShards

        return RemoteShards(shards.location, list(shards.files), samples, cache_bytes)
    return LocalShards(folder / shards.location, list(shards.files))


class LocalShards:
    """Shards in a folder: a `pread` at the recorded offset, so that any sample costs one seek."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        # Messages name it as it is: the manifest says where it lies relative to the artifact.
        self._folder, self._names = folder.resolve(), names
        self._files: dict[int, int] = {}

    def image(self, sample: "Sample") -> bytes:
        """Return the encoded image."""
        return self._read(sample.shard, sample.image_offset, sample.image_bytes)

    def mask(self, sample: "Sample") -> bytes:
        """Return the encoded mask."""
        return self._read(sample.shard, sample.mask_offset, sample.mask_bytes)

    def prefetch(self, samples: Iterable["Sample"]) -> None:
        """Do nothing: the system reads ahead."""

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        path = self._folder / self._name(shard)
        if shard not in self._files:
            try:
                self._files[shard] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise ContractError(
                    str(path),
                    f"no shard ({error.strerror})",
                    "the shards that convert_labels wrote, at the same place relative to this list",
                    "copy the whole run, or unpack it there",
                ) from error
        content = os.pread(self._files[shard], size, offset)
        if len(content) != size:
            found, expected = f"{counted(len(content), 'byte')} at {offset}", f"{size}: truncated"
            raise ContractError(str(path), found, expected)
        return content

    def _name(self, shard: int) -> str:
        if shard >= len(self._names):
            found, expected = f"no shard number {shard}", counted(len(self._names), "shard")
            raise ContractError(str(self._folder), found, expected)
        return self._names[shard]

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker gets no file descriptors: it opens its own.
        return {**vars(self), "_files": {}}
