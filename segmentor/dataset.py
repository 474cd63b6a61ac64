"""The data set artifact, opened: a manifest, a line a sample, and tar shards for WebDataset.

    manifest.json     schema version, label map, sample count, groups, digest, provenance
    samples.jsonl     a line a sample: see `Sample`
    shard-00000.tar   <key>.image.<png|jpg> as delivered, <key>.mask.png with 8-bit class indices

Reading is a `pread` at the recorded offset, so that any sample costs one seek.
"""

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import ContractError
from segmentor.image_io import decode_image
from segmentor.label_map import LabelMap
from segmentor.masks import decode_mask

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
SAMPLES = "samples.jsonl"
_REMEDY = "run convert_labels first"


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


class Dataset:
    """A data set artifact opened for reading; threads and forked processes may share it."""

    def __init__(self, folder: Path) -> None:
        """Opens the artifact.

        Raises:
            ContractError: the folder holds no data set artifact of this schema version.
        """
        self.folder = folder
        where = str(folder)
        if folder.is_file():
            expected = f"the folder of a data set artifact, with {MANIFEST}"
            raise ContractError(where, "a file", expected, f"{_REMEDY}: it reads exports")
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            missing = f"no {MANIFEST}" if folder.is_dir() else "no such folder"
            raise ContractError(where, missing, "a data set artifact", _REMEDY) from None
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

    def sample_at(self, position: int) -> Sample:
        """Returns the sample at a position of the order of writing, by one seek."""
        start, end = self._line_ends[position : position + 2].tolist()
        return Sample.from_json(json.loads(self._read(SAMPLES, start, end - start)))

    @cached_property
    def _line_ends(self) -> NDArray[np.int64]:
        """Where each line of the samples ends, int64 (N + 1,), 0 first: 8 bytes a sample."""
        ends = array("q", [0])
        with (self.folder / SAMPLES).open("rb") as lines:
            for line in lines:
                ends.append(ends[-1] + len(line))
        return np.frombuffer(ends, np.int64)

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
