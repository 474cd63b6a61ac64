"""Finds the labels that a project lists and no image has, before any image is converted.

Which they are depends on the masks: shapes may lie under others, and colour masks say nothing
before they are read. So every class is looked for until one image that can be converted has it. An
image is converted for it only if its label may hold a class that has not been seen yet, which
costs little: only classes that nobody drew are looked for to the end, and shapes need no painting.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from components.convert_labels.classes.mapping import ClassMapping
from components.convert_labels.conversion import Conversion, Job, convert_job
from components.convert_labels.masks.label_pixels import read_colours, read_indices
from components.convert_labels.raw_labels import IndexLabel, ShapesLabel
from components.convert_labels.worker_pool import on_all_cores
from segmentor.errors import SegmentorError
from segmentor.progress import track


@dataclass(frozen=True)
class _Look:
    """An image to look at, and the classes that none before it has."""

    job: Job
    unseen: frozenset[int]


def classes_in_use(jobs: Iterable[Job], wanted: Iterable[int], conversion: Conversion) -> set[int]:
    """Return which of the wanted class indices an image has; stops when all are found."""
    unseen = set(wanted)

    def looks() -> Iterator[_Look]:
        for job in jobs:
            if not unseen:
                return
            yield _Look(job, frozenset(unseen))

    def here(look: _Look) -> frozenset[int]:
        return _seen(look, conversion)

    found: set[int] = set()
    looked = on_all_cores(looks(), here, _work, _set_up, (conversion,))
    for _, seen in track(looked, "look for classes"):
        found |= seen
        unseen -= seen
    return found


def _seen(look: _Look, conversion: Conversion) -> frozenset[int]:
    if look.unseen.isdisjoint(_perhaps(look.job, conversion)):
        return frozenset()
    pixels = convert_job(look.job, conversion).class_pixels  # none if it cannot be converted
    return look.unseen & {index for index, count in enumerate(pixels) if count}


def _perhaps(job: Job, conversion: Conversion) -> set[int]:
    """Return the class indices that the mask may have; those of a bad sample do not count."""
    label, mapping = job.label, conversion.mapping
    with contextlib.suppress(SegmentorError):
        if isinstance(label, ShapesLabel):
            return _targets({shape.label for shape in label.shapes()}, mapping)
        if label is not None:
            read = read_indices if isinstance(label, IndexLabel) else read_colours
            pixels = read(label, conversion.tables).pixels  # type: ignore[arg-type]
            return set(np.flatnonzero(np.bincount(pixels.ravel())).tolist())
    return set()


def _targets(labels: set[str], mapping: ClassMapping) -> set[int]:
    return {mapping.targets[label] for label in labels if label in mapping.targets}


_conversion: Conversion


def _set_up(conversion: Conversion) -> None:
    global _conversion
    _conversion = conversion


def _work(look: _Look) -> frozenset[int]:
    return _seen(look, _conversion)
