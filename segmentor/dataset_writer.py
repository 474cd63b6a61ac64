"""Writes the data set artifact that `segmentor/dataset.py` reads."""

import json
import tarfile
import urllib.parse
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import MANIFEST, SAMPLES, SCHEMA_VERSION, Sample
from segmentor.digests import canonical_json, digest_bytes
from segmentor.errors import DataError
from segmentor.image_io import read_header
from segmentor.label_map import LabelMap
from segmentor.masks import count_classes, encode_mask
from segmentor.name_table import NameTable

SHARD_BYTES = 256 * 1024 * 1024


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
        self._ids = NameTable()
        self._groups = NameTable()
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


def shard_key(sample_id: str) -> str:
    """Returns the sample's key in a shard: WebDataset ends a key at the first dot of a name."""
    return urllib.parse.quote(sample_id, safe="/ !#$&'()+,;=@[]^_`{}~-").replace(".", "%2E")
