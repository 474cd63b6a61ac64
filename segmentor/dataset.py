"""Read the data set artifact: small lists, whose samples point into tar shards for WebDataset.

    manifest.json     schema version, label map, sample count, groups, digest, provenance, shards
    samples.jsonl     a line per sample: see `Sample`
    shard-<hex>.tar   <key>.image.<png|jpg> as delivered, <key>.mask.png with 8-bit class indices

Shards never change and are named by their SHA-256. They lie in the object store, or in a folder at
a path relative to the artifact: convert_labels writes them, and split only lists them. Lists of
shards in the object store are compressed, as samples.jsonl.gz. Schema version 1 had numbered
shards, all in the artifact.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import ContractError
from segmentor.image_io import decode_image, decode_index
from segmentor.label_map import LabelMap
from segmentor.pixel_conversion import WHITE
from segmentor.run_record import FILE_NAME as RUN_FILE
from segmentor.run_record import RunRecord
from segmentor.sample_lines import SampleLines
from segmentor.shards import CACHE_BYTES, ShardList, Shards, open_shards

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
# What convert_labels found in the labels: split passes it on, `dataset view` filters by it.
FINDINGS = "findings.jsonl"
# Beside images and masks that `dataset unpack` writes as files.
CLASS_LIST = "classes.txt"
# Samples whose bytes are fetched while earlier ones are in use.
_AHEAD = 32


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its mask, and where both lie in the shards.

    `class_pixels` counts the pixels of each class in label map order; ignored pixels are the rest.
    `extension` is that of the image as delivered, without the dot. `shard` is the number of the
    shard in the manifest's list; the line has its address. `perceptual_hash` is "" if the writer
    did not get one.
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
    shard: int
    image_offset: int
    image_bytes: int
    mask_offset: int
    mask_bytes: int
    perceptual_hash: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any], shards: Mapping[str, int]) -> Self:
        """Read a line of the samples; `shards` has the number of each address."""
        number = shards[value["shard"]]
        return cls(**{**value, "class_pixels": tuple(value["class_pixels"]), "shard": number})

    def to_json(self, shard: str) -> dict[str, Any]:
        """Return the JSON value of the sample's line, with the address of its shard."""
        return {name: getattr(self, name) for name in _FIELDS} | {"shard": shard}

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the image, upright."""
        return self.height, self.width


_FIELDS = tuple(field.name for field in fields(Sample))


class Dataset:
    """A data set artifact opened for reading; threads and forked processes may share it."""

    def __init__(self, folder: Path, cache_bytes: int = CACHE_BYTES) -> None:
        """Open the artifact.

        Args:
            folder: The artifact.
            cache_bytes: How much of shards in the object store may be kept on the local disk.

        Raises:
            ContractError: the folder holds no data set artifact of a known schema version.
        """
        self.folder = folder
        self.manifest = _read_manifest(folder)
        self.label_map = LabelMap.from_json(self.manifest["label_map"])
        self._lines = SampleLines(folder)
        self._cache_bytes = cache_bytes

    def __len__(self) -> int:
        return int(self.manifest["samples"])

    def __iter__(self) -> Iterator[Sample]:
        return self.iter_samples()

    @property
    def digest(self) -> str:
        """Return the content digest that `DatasetWriter` computed."""
        return str(self.manifest["digest"])

    def iter_samples(self) -> Iterator[Sample]:
        """Yield the samples in the order they were written, one line in memory at a time.

        Raises:
            ContractError: a line is not a sample.
        """
        for line in self._lines:
            yield self._parsed(line)

    @property
    def samples(self) -> Sequence[Sample]:
        """Return all samples; each is read when it is asked for, so that a million fit."""
        return _Samples(self)

    def samples_at(self, positions: Iterable[int]) -> dict[int, Sample]:
        """Return the samples at some positions in writing order."""
        return {position: self.sample_at(position) for position in sorted(set(positions))}

    def sample_at(self, position: int) -> Sample:
        """Return the sample at a position in writing order, by one seek."""
        return self._parsed(self._lines.at(position))

    def _parsed(self, line: bytes) -> Sample:
        try:
            return Sample.from_json(json.loads(line), self._shard_numbers)
        except (ValueError, TypeError, KeyError) as error:
            where = str(self._lines.path)
            raise ContractError(where, f"an invalid line ({error})") from error

    @cached_property
    def shard_list(self) -> ShardList:
        """Return which shards the samples are in, and where these lie."""
        if "shards" in self.manifest:
            return ShardList.from_json(self.manifest["shards"])
        return ShardList.of_folder(self.folder)

    @cached_property
    def _shard_numbers(self) -> dict[str, int]:
        return {address: number for number, address in enumerate(self.shard_list.addresses)}

    @cached_property
    def _shards(self) -> Shards:
        return open_shards(self.shard_list, self.folder, self.iter_samples, self._cache_bytes)

    def read_ahead(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Yield samples while the bytes of the next ones are being fetched."""
        waiting = iter(samples)
        batch = list(islice(waiting, _AHEAD))
        self.prefetch(batch)
        while batch:
            following = list(islice(waiting, _AHEAD))
            self.prefetch(following)
            yield from batch
            batch = following

    def prefetch(self, samples: Iterable[Sample]) -> None:
        """Begin to fetch the bytes of samples that will be asked for soon; does not wait."""
        self._shards.prefetch(samples)

    def image_content(self, sample: Sample) -> bytes:
        """Return the encoded image, as delivered."""
        return self._shards.image(sample)

    def mask_content(self, sample: Sample) -> bytes:
        """Return the encoded mask."""
        return self._shards.mask(sample)

    def image(
        self, sample: Sample, at_least: tuple[int, int] | None = None, white: int = WHITE
    ) -> NDArray[np.uint8]:
        """Return the image: RGB uint8 (H, W, 3); see `decode_image` for the arguments."""
        content = self.image_content(sample)
        return decode_image(content, sample.id, at_least=at_least, white=white)

    def mask(self, sample: Sample) -> NDArray[np.uint8]:
        """Return the mask: uint8 (H, W)."""
        return decode_index(self.mask_content(sample), sample.id)


class _Samples(Sequence[Sample]):
    """The samples of a data set, read line by line."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Sample]:
        return self._dataset.iter_samples()

    @overload
    def __getitem__(self, key: int) -> Sample: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[Sample]: ...

    def __getitem__(self, key: int | slice) -> Sample | Sequence[Sample]:
        positions = range(len(self))[key]
        if isinstance(positions, int):
            return self._dataset.sample_at(positions)
        return tuple(self._dataset.sample_at(position) for position in positions)


def _read_manifest(folder: Path) -> dict[str, Any]:
    where, convert = str(folder), f"convert it first: segmentor run --export {folder}"
    if folder.is_file():
        expected = f"the folder of a data set artifact, with {MANIFEST}"
        raise ContractError(where, "a file", expected, f"if it is an export, {convert}")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        expected = "a data set artifact, which convert_labels writes"
        if not folder.is_dir():
            raise ContractError(where, "no such folder", expected) from None
        if (folder / CLASS_LIST).is_file():
            files = "images and masks as files, as dataset unpack writes them"
            raise ContractError(where, files, expected, convert) from None
        remedy = f"if it is an export, {convert}"
        raise ContractError(where, f"no {MANIFEST}", expected, remedy) from None
    except (OSError, ValueError) as error:
        raise ContractError(where, f"unreadable {MANIFEST} ({error})") from error
    found = manifest.get("schema_version") if isinstance(manifest, dict) else "no object"
    if found not in (1, SCHEMA_VERSION):
        raise ContractError(
            where,
            f"schema version {found}",
            f"1 or {SCHEMA_VERSION}",
            "convert the export again with this version",
        )
    return dict(manifest)


def open_dataset(folder: str | Path, split: str = "") -> Dataset:
    """Open a data set: iterate it for samples, and ask it for their images and masks.

        dataset = open_dataset("outputs/2026-01-31/09-30-00", "test")
        for sample in dataset:
            image, mask = dataset.image(sample), dataset.mask(sample)

    Args:
        folder: A data set artifact, or the folder of a run.
        split: train, val or test of a run; empty takes the whole data set.

    Raises:
        ContractError: there is no data set, or no such split.
    """
    path = Path(folder)
    if (path / RUN_FILE).is_file():
        run = RunRecord.read(path)
        step, output = ("split", split) if split else ("convert_labels", "dataset")
        path = run.artifact(step, output)
    return Dataset(path)
