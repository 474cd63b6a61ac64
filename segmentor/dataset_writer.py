"""Writes the data set artifact that `segmentor/dataset.py` reads."""

import json
import tarfile
import urllib.parse
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import MANIFEST, SCHEMA_VERSION, Sample
from segmentor.digests import canonical_json, digest_bytes
from segmentor.errors import DataError
from segmentor.image_io import encode_index, read_header
from segmentor.label_map import LabelMap
from segmentor.masks import count_classes
from segmentor.sample_lines import LineWriter
from segmentor.shards import ShardList

SHARD_BYTES = 256 * 1024 * 1024


class SampleListWriter:
    """Writes manifest.json and the samples' lines into an existing folder; no pixels.

    The digest covers the label map and, in the order of writing, each sample's id, group, subset
    and content digests: not how the samples fall into shards, and not the provenance.
    """

    def __init__(
        self, folder: Path, label_map: LabelMap, provenance: Mapping[str, Any], shards: ShardList
    ) -> None:
        self._folder = folder
        self._label_map = label_map
        self._provenance = dict(provenance)
        self._shards = shards
        self._ids: set[str] = set()
        self._groups: set[str] = set()
        self._digest = sha256(canonical_json(label_map.to_json()).encode())
        self._lines = LineWriter(folder, shards.is_remote)
        # A shard is named when it is full: lines wait for the names of their shards.
        self._waiting: deque[Sample] = deque()
        self._addresses = shards.addresses

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write_addressed()
        finally:
            self._lines.close()
        if kind is None:
            manifest = {
                "schema_version": SCHEMA_VERSION,
                "label_map": self._label_map.to_json(),
                "samples": len(self._ids),
                "groups": len(self._groups),
                "digest": self.digest,
                "provenance": self._provenance,
                "shards": self._shards.to_json(),
            }
            text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
            (self._folder / MANIFEST).write_text(text, encoding="utf-8")

    @property
    def digest(self) -> str:
        """The digest of what has been written so far."""
        return "sha256:" + self._digest.hexdigest()

    def require_new(self, sample_id: str) -> None:
        """Refuse an id that was used before.

        Raises:
            DataError: it was.
        """
        if sample_id in self._ids:
            raise DataError(sample_id, "the name twice", "unique image names", "rename one")

    def add(self, sample: Sample) -> None:
        """Append a sample whose pixels are in the shards."""
        self._ids.add(sample.id)
        self._groups.add(sample.group)
        identity = [
            sample.id,
            sample.group,
            sample.subset,
            sample.image_digest,
            sample.mask_digest,
        ]
        self._digest.update(canonical_json(identity).encode())
        self._waiting.append(sample)
        self._write_addressed()

    def _write_addressed(self) -> None:
        if len(self._addresses) != len(self._shards.files):
            self._addresses = self._shards.addresses
        while self._waiting and self._waiting[0].shard < len(self._addresses):
            sample = self._waiting.popleft()
            self._lines.write(canonical_json(sample.to_json(self._addresses[sample.shard])))


class ShardWriter:
    """Writes tar shards one after the other into a folder; a full one is named by its digest.

    A full shard is handed to `keep`, which may move it, and is entered in `shards`.
    """

    def __init__(
        self, folder: Path, shards: ShardList, shard_bytes: int, keep: Callable[[Path], None]
    ) -> None:
        self._folder, self._shards, self._shard_bytes = folder, shards, shard_bytes
        self._keep = keep
        self._shard: BinaryIO | None = None
        self._digest = sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._shard is not None:
            self._shard.close()  # Open, it would keep its blocks on the disk once it is removed.

    @property
    def number(self) -> int:
        """The number of the shard that was written to last."""
        return len(self._shards.files)

    def append(self, name: str, content: bytes, start: bool = False) -> int:
        """Write one tar member; `start` allows a new shard. Returns the offset of the content."""
        shard = self._shard
        if shard is not None and start and shard.tell() + len(content) > self._shard_bytes:
            self.close()
            shard = None
        if shard is None:
            shard = self._shard = self._partial.open("wb")
            self._digest = sha256()
        member = tarfile.TarInfo(name)  # no time, no owner: equal content gives equal shards
        member.size = len(content)
        self._write(shard, member.tobuf(tarfile.GNU_FORMAT, "utf-8"))
        offset = shard.tell()
        self._write(shard, content)
        self._write(shard, bytes(-len(content) % tarfile.BLOCKSIZE))
        return offset

    def close(self) -> None:
        """End the shard that is being written, if there is one, and hand it on."""
        shard, self._shard = self._shard, None
        if shard is None:
            return
        with shard:
            self._write(shard, bytes(2 * tarfile.BLOCKSIZE))
            size = shard.tell()
        path = self._partial.rename(self._folder / f"shard-{self._digest.hexdigest()}.tar")
        self._shards.files[path.name] = size
        self._keep(path)

    @property
    def _partial(self) -> Path:
        return self._folder / "shard-unfinished"

    def _write(self, shard: BinaryIO, content: bytes) -> None:
        shard.write(content)
        self._digest.update(content)


class DatasetWriter:
    """Writes a data set artifact into an existing, empty folder; use it as a context manager."""

    def __init__(
        self,
        folder: Path,
        label_map: LabelMap,
        provenance: Mapping[str, Any],
        shard_bytes: int = SHARD_BYTES,
        location: str = ".",
        keep: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """Begin a data set.

        Args:
            folder: The artifact.
            label_map: The classes.
            provenance: Where the samples are from.
            shard_bytes: Most bytes of a shard, unless one sample is larger.
            location: Where the shards can be read later, as `ShardList` says it.
            keep: Takes each full shard to its location; by default it stays in the folder.
        """
        shards = ShardList(location)
        self._label_map = label_map
        self._list = SampleListWriter(folder, label_map, provenance, shards)
        self._shards = ShardWriter(folder, shards, shard_bytes, keep)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        # The shards end first: the list names the last one, and is not written if that failed.
        self._open.enter_context(self._list)
        self._open.enter_context(self._shards)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._open.__exit__(*raised)

    @property
    def digest(self) -> str:
        """The digest of what has been written so far."""
        return self._list.digest

    def add(
        self,
        sample_id: str,
        image: bytes,
        mask: NDArray[np.uint8],
        group: str,
        subset: str = "",
    ) -> Sample:
        """Append a sample; the image is stored as delivered, the mask as an index PNG.

        Args:
            sample_id: Unique name, usually the image's name without extension; may hold slashes.
            image: The encoded image.
            mask: uint8 (H, W), of the image's upright size.
            group: What must not be torn apart by a split.
            subset: The export's own subset, or "".

        Raises:
            ImageError: the header is no image's.
            MaskError: the mask holds an unknown class index.
            DataError: the id was used before, or the sizes differ.
        """
        header = read_header(image, sample_id)
        if header.size != mask.shape:
            raise DataError(
                sample_id,
                f"mask of {mask.shape[0]} x {mask.shape[1]}",
                f"the image's size {header.size[0]} x {header.size[1]} (height x width)",
            )
        counts = count_classes(mask, self._label_map, sample_id)
        extension = "jpg" if header.format == "JPEG" else header.format.lower()
        return self.add_encoded(
            sample_id, image, extension, encode_index(mask), header.size, counts, group, subset
        )

    def add_encoded(
        self,
        sample_id: str,
        image: bytes,
        extension: str,
        mask_png: bytes,
        size: tuple[int, int],
        class_pixels: list[int],
        group: str,
        subset: str,
        perceptual_hash: str = "",
    ) -> Sample:
        """Append a sample whose mask is encoded and checked already by a worker.

        Raises:
            DataError: the id was used before.
        """
        self._list.require_new(sample_id)
        key = shard_key(sample_id)
        image_offset = self._shards.append(f"{key}.image.{extension}", image, start=True)
        mask_offset = self._shards.append(f"{key}.mask.png", mask_png)
        sample = Sample(
            id=sample_id,
            group=group,
            subset=subset,
            height=size[0],
            width=size[1],
            class_pixels=tuple(class_pixels),
            extension=extension,
            image_digest=digest_bytes(image),
            mask_digest=digest_bytes(mask_png),
            shard=self._shards.number,
            image_offset=image_offset,
            image_bytes=len(image),
            mask_offset=mask_offset,
            mask_bytes=len(mask_png),
            perceptual_hash=perceptual_hash,
        )
        self._list.add(sample)
        return sample


def shard_key(sample_id: str) -> str:
    """Return the sample's key in a shard: WebDataset ends a key at the first dot of a name."""
    return urllib.parse.quote(sample_id, safe="/ !#$&'()+,;=@[]^_`{}~-").replace(".", "%2E")
