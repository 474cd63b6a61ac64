"""The data set artifact: a manifest, a line a sample, and tar shards that WebDataset can read.

    manifest.json     schema version, label map, sample count, groups, digest, provenance
    samples.jsonl     a line a sample: see `Sample`
    shard-00000.tar   <key>.image.<png|jpg> as delivered, <key>.mask.png with 8-bit class indices

Reading is a `pread` at the recorded offset, so that any sample costs one seek.
"""

import json
import os
import tarfile
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from segmentor.digests import canonical_json, digest_bytes
from segmentor.errors import ContractError, DataError
from segmentor.image_io import decode_image, read_header
from segmentor.label_map import LabelMap
from segmentor.masks import count_classes, decode_mask, encode_mask

SCHEMA_VERSION = 1
SHARD_BYTES = 256 * 1024 * 1024
MANIFEST = "manifest.json"
SAMPLES = "samples.jsonl"


@dataclass(frozen=True)
class Sample:
    """One image with its mask, and where both lie in the shards.

    `class_pixels` counts the pixels of each class in label map order; ignored pixels are the rest.
    `extension` is that of the image as delivered, without the dot. `perceptual_hash` is "" when
    the writer was not given one.
    """

    id: str
    group: str
    subset: str
    height: int
    width: int
    class_pixels: tuple[int, ...]
    extension: str
    image_digest: str
    mask_digest: str
    shard: str
    image_offset: int
    image_bytes: int
    mask_offset: int
    mask_bytes: int
    perceptual_hash: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Reads a line of samples.jsonl."""
        return cls(**{**value, "class_pixels": tuple(value["class_pixels"])})

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image, upright."""
        return self.height, self.width


class DatasetWriter:
    """Writes a data set artifact into an existing, empty folder; use it as a context manager.

    The digest covers the label map and, in the order of writing, each sample's id, group, subset
    and content digests: not how the samples fall into shards, and not the provenance.
    """

    def __init__(
        self,
        folder: Path,
        label_map: LabelMap,
        provenance: Mapping[str, Any],
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self._folder = folder
        self._label_map = label_map
        self._provenance = dict(provenance)
        self._shard_bytes = shard_bytes
        self._shard: BinaryIO | None = None
        self._shard_count = 0
        self._ids: set[str] = set()
        self._groups: set[str] = set()
        self._digest = sha256(canonical_json(label_map.to_json()).encode())
        self._lines = (folder / SAMPLES).open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._lines.close()
        finally:
            # Also on a full disk: an open shard would keep its blocks after it is removed.
            self._close_shard()
        if kind is None:
            manifest = {
                "schema_version": SCHEMA_VERSION,
                "label_map": self._label_map.to_json(),
                "samples": len(self._ids),
                "groups": len(self._groups),
                "digest": self.digest,
                "provenance": self._provenance,
            }
            text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
            (self._folder / MANIFEST).write_text(text, encoding="utf-8")

    @property
    def digest(self) -> str:
        """The digest of what has been written so far."""
        return "sha256:" + self._digest.hexdigest()

    def add(
        self,
        sample_id: str,
        image: bytes,
        mask: NDArray[np.uint8],
        group: str,
        subset: str = "",
    ) -> Sample:
        """Appends a sample; the image is stored as delivered, the mask as an index PNG.

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
            sample_id, image, extension, encode_mask(mask), header.size, counts, group, subset
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
        """Appends a sample whose mask is encoded and checked already (by a worker, or a split).

        Raises:
            DataError: the id was used before.
        """
        if sample_id in self._ids:
            raise DataError(sample_id, "the name twice", "unique image names", "rename one")
        self._ids.add(sample_id)
        self._groups.add(group)
        key = shard_key(sample_id)
        image_offset = self._append(f"{key}.image.{extension}", image, start=True)
        mask_offset = self._append(f"{key}.mask.png", mask_png)
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
            shard=f"shard-{self._shard_count - 1:05d}.tar",
            image_offset=image_offset,
            image_bytes=len(image),
            mask_offset=mask_offset,
            mask_bytes=len(mask_png),
            perceptual_hash=perceptual_hash,
        )
        identity = [sample.id, group, subset, sample.image_digest, sample.mask_digest]
        self._digest.update(canonical_json(identity).encode())
        self._lines.write(canonical_json(asdict(sample)) + "\n")
        return sample

    def _append(self, name: str, content: bytes, start: bool = False) -> int:
        """Writes one tar member; `start` allows a new shard. Returns the offset of the content."""
        shard = self._shard
        if shard is None or (start and shard.tell() + len(content) > self._shard_bytes):
            self._close_shard()
            shard = (self._folder / f"shard-{self._shard_count:05d}.tar").open("wb")
            self._shard, self._shard_count = shard, self._shard_count + 1
        member = tarfile.TarInfo(name)  # no time, no owner: equal content gives equal shards
        member.size = len(content)
        shard.write(member.tobuf(tarfile.GNU_FORMAT, "utf-8"))
        offset = shard.tell()
        shard.write(content)
        shard.write(bytes(-len(content) % tarfile.BLOCKSIZE))
        return offset

    def _close_shard(self) -> None:
        shard, self._shard = self._shard, None
        if shard is not None:
            with shard:
                shard.write(bytes(2 * tarfile.BLOCKSIZE))


class Dataset:
    """A data set artifact opened for reading; threads and forked processes may share it."""

    def __init__(self, folder: Path) -> None:
        """Opens the artifact.

        Raises:
            ContractError: the folder holds no data set artifact of this schema version.
        """
        self.folder = folder
        where = str(folder)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ContractError(
                where, f"no {MANIFEST}", "a data set artifact", "run convert_labels first"
            ) from None
        except (OSError, ValueError) as error:
            raise ContractError(where, f"unreadable {MANIFEST} ({error})") from error
        if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
            found = manifest.get("schema_version") if isinstance(manifest, dict) else "no object"
            raise ContractError(
                where,
                f"schema version {found}",
                str(SCHEMA_VERSION),
                "convert the export again with this version",
            )
        self.manifest: dict[str, Any] = manifest
        self.label_map = LabelMap.from_json(manifest["label_map"])
        self._files: dict[str, int] = {}

    def __len__(self) -> int:
        return int(self.manifest["samples"])

    @property
    def digest(self) -> str:
        """The content digest that `DatasetWriter` computed."""
        return str(self.manifest["digest"])

    def iter_samples(self) -> Iterator[Sample]:
        """Yields the samples in the order they were written, one line in memory at a time.

        Raises:
            ContractError: a line is not a sample.
        """
        path = self.folder / SAMPLES
        try:
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield Sample.from_json(json.loads(line))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ContractError(str(path), f"a line that is no sample ({error})") from error

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, in memory."""
        return tuple(self.iter_samples())

    def samples_at(self, positions: Iterable[int]) -> dict[int, Sample]:
        """Returns the samples at some positions of the order of writing, in one pass."""
        wanted = set(positions)
        if not wanted:
            return {}
        return {
            position: sample
            for position, sample in enumerate(self.iter_samples())
            if position in wanted
        }

    def image_content(self, sample: Sample) -> bytes:
        """Returns the encoded image, as delivered."""
        return self._read(sample.shard, sample.image_offset, sample.image_bytes)

    def mask_content(self, sample: Sample) -> bytes:
        """Returns the encoded mask."""
        return self._read(sample.shard, sample.mask_offset, sample.mask_bytes)

    def image(self, sample: Sample, at_least: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Returns the image: RGB uint8 (H, W, 3); see `decode_image` for `at_least`."""
        return decode_image(self.image_content(sample), sample.id, at_least=at_least)

    def mask(self, sample: Sample) -> NDArray[np.uint8]:
        """Returns the mask: uint8 (H, W)."""
        return decode_mask(self.mask_content(sample), sample.id)

    def _read(self, shard: str, offset: int, size: int) -> bytes:
        if shard not in self._files:
            try:
                self._files[shard] = os.open(self.folder / shard, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise ContractError(str(self.folder / shard), f"no shard ({error})") from error
        content = os.pread(self._files[shard], size, offset)
        if len(content) != size:
            raise ContractError(
                str(self.folder / shard), f"{len(content)} bytes at {offset}", f"{size}: truncated"
            )
        return content

    def __getstate__(self) -> dict[str, Any]:
        # File descriptors do not travel to a spawned worker: it opens its own.
        return {**self.__dict__, "_files": {}}


def shard_key(sample_id: str) -> str:
    """Returns the sample's key in a shard: WebDataset ends a key at the first dot of a name."""
    return urllib.parse.quote(sample_id, safe="/ !#$&'()+,;=@[]^_`{}~-").replace(".", "%2E")
