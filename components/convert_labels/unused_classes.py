"""Leaves classes out of a data set that no image has: labels that a project lists and nobody drew.

Which they are is known only when every mask is made: shapes may lie under others, and colour masks
say nothing before they are read. So the data set is written in full, and again without them: only
masks whose indices change are encoded anew.
"""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.class_mapping import (
    MAX_TARGETS,
    ClassMapping,
    MappingRules,
    only_one_class,
)
from components.convert_labels.exports import UNLABELLED, Export, Notes, ShapesLabel
from components.convert_labels.quality import LabelQuality
from segmentor.dataset import MANIFEST, SAMPLES, Dataset, Sample
from segmentor.dataset_writer import DatasetWriter
from segmentor.errors import DataError, SegmentorError
from segmentor.label_map import BACKGROUND, IGNORE_INDEX, LabelMap
from segmentor.masks import decode_mask, encode_mask
from segmentor.progress import track

# Masks that are encoded at once: enough for all cores, few enough to bound memory.
AT_ONCE = 64


def without_undrawn(export: Export, rules: MappingRules) -> tuple[Export, tuple[str, ...]]:
    """Leaves labels out that no shape has, where there are more than masks have indices for.

    Returns the export and the labels left out. Those that a rule names stay; so do all of an export
    of masks, which are written by their labels' indices or colours: they are not read for it.
    """
    if len(export.classes) <= MAX_TARGETS:
        return export, ()
    kept = {UNLABELLED, *(source for rule in rules.rules for source in rule.sources)}
    for item in export.items():
        if isinstance(item.label, ShapesLabel):
            # What cannot be read is a problem of its image, and is found again as such.
            with contextlib.suppress(SegmentorError):
                kept |= {shape.label for shape in item.label.shapes()}
        elif item.label is not None:
            return export, ()
    classes = tuple(label for label in export.classes if label.name in kept)
    undrawn = tuple(label.name for label in export.classes if label.name not in kept)
    return replace(export, classes=classes), undrawn


def unused_classes(
    quality: LabelQuality, rules: MappingRules, where: str, notes: Notes
) -> tuple[str, ...]:
    """Returns the classes that no image has; those that the user named are kept.

    Raises:
        DataError: no image has any class, so there is nothing to learn.
        LabelMapError: they all have the same one, and background is no class here.
    """
    named = {BACKGROUND, *(rule.target for rule in rules.rules)}
    names = quality.label_map.names
    unused = [n for n, images in zip(names, quality.class_images, strict=True) if not images]
    unused = [name for name in unused if name not in named]
    if not set(names) - {BACKGROUND, *unused}:
        shown = ", ".join(f"'{name}'" for name in unused)
        images = "the one image" if quality.samples == 1 else f"{quality.samples:,} images"
        raise DataError(
            where,
            f"no pixel of any label ({shown}) in {images}",
            "at least one",
            f"label images, or export the task that is labelled{_left_out(notes)}",
        )
    used = [name for name in names if name not in unused]
    if len(used) < 2:
        raise only_one_class(where, used[0])
    return tuple(unused)


def _left_out(notes: Notes) -> str:
    """Says what was there and was not painted, if anything: it may be why nothing is."""
    found = [f"{what}: {count:,}" for what, count in sorted(notes.counts.items())]
    return f" ({'; '.join(found)})" if found else ""


def leave_out(folder: Path, mapping: ClassMapping, unused: tuple[str, ...]) -> ClassMapping:
    """Writes the data set in `folder` again without classes that no image has.

    Returns where the labels go now.
    """
    old = mapping.label_map
    kept = [index for index, name in enumerate(old.names) if name not in unused]
    label_map = LabelMap(tuple(old.classes[index] for index in kept))
    indices = np.full(256, IGNORE_INDEX, np.uint8)
    indices[kept] = np.arange(len(kept))
    _write_again(folder, label_map, kept, indices)
    targets = {
        label: int(indices[index])
        for label, index in mapping.targets.items()
        if index == IGNORE_INDEX or index in kept
    }
    return replace(
        mapping,
        label_map=label_map,
        targets=targets,
        unlabelled=int(indices[mapping.unlabelled]),
    )


def _write_again(
    folder: Path, label_map: LabelMap, kept: list[int], indices: NDArray[np.uint8]
) -> None:
    dataset = Dataset(folder)
    # Where only the last classes go, the masks stay as they are.
    changes = kept != list(range(len(kept)))
    again = folder / "again"
    again.mkdir()
    with DatasetWriter(again, label_map, dataset.manifest["provenance"]) as writer:
        masks = _masks(dataset, indices if changes else None)
        for sample, mask in track(masks, "leave out unused classes", len(dataset)):
            writer.add_encoded(
                sample.id,
                dataset.image_content(sample),
                sample.extension,
                mask,
                sample.size,
                [sample.class_pixels[index] for index in kept],
                sample.group,
                sample.subset,
                sample.perceptual_hash,
            )
    for shard in folder.glob("shard-*.tar"):
        shard.unlink()
    for path in (again / MANIFEST, again / SAMPLES, *again.glob("shard-*.tar")):
        path.replace(folder / path.name)
    shutil.rmtree(again)


def _masks(dataset: Dataset, indices: NDArray[np.uint8] | None) -> Iterator[tuple[Sample, bytes]]:
    """Yields each sample with its mask, encoded anew where indices are given."""

    def mask(sample: Sample) -> bytes:
        content = dataset.mask_content(sample)
        if indices is None:
            return content
        renumbered = cv2.LUT(decode_mask(content, sample.id), indices)
        return encode_mask(np.asarray(renumbered, np.uint8))

    samples = dataset.iter_samples()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while batch := list(itertools.islice(samples, AT_ONCE)):
            yield from zip(batch, pool.map(mask, batch), strict=True)
