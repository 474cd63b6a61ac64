"""Leaves out classes that no image has: labels that a project lists and nobody drew."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from components.convert_labels.classes.mapping import (
    MAX_TARGETS,
    ClassMapping,
    MappingRules,
    only_one_class,
)
from components.convert_labels.conversion import Conversion, Job, Kept
from components.convert_labels.planning import Refused
from components.convert_labels.raw_labels import UNLABELLED, Export, Notes, ShapesLabel
from components.convert_labels.report.quality import LabelQuality
from components.convert_labels.used_classes import classes_in_use
from segmentor.errors import DataError, SegmentorError
from segmentor.label_map import BACKGROUND, IGNORE_INDEX, LabelMap
from segmentor.plurals import counted


def without_undrawn(export: Export, rules: MappingRules) -> tuple[Export, tuple[str, ...]]:
    """Leave out labels that no shape has, if there are more than masks have indices for.

    Returns the export and the labels left out. Those that a rule names stay; so do all of an export
    of masks, which are written by their labels' indices or colours: they are not read for it.
    """
    if len(export.classes) <= MAX_TARGETS:
        return export, ()
    kept = {UNLABELLED, *(source for rule in rules.rules for source in rule.sources)}
    for item in export.items():
        if isinstance(item.label, ShapesLabel):
            # A shape that cannot be read is reported later, as a problem of its image.
            with contextlib.suppress(SegmentorError):
                kept |= {shape.label for shape in item.label.shapes()}
        elif item.label is not None:
            return export, ()
    classes = tuple(label for label in export.classes if label.name in kept)
    undrawn = tuple(label.name for label in export.classes if label.name not in kept)
    return replace(export, classes=classes), undrawn


def find_unused(
    jobs: Callable[[], Iterator[Job | Refused]], rules: MappingRules, conversion: Conversion
) -> tuple[str, ...]:
    """Return the classes that no image has; those that the user named are kept.

    None is left out where too few would remain: `require_labels` says so with what the conversion
    has found.
    """
    label_map = conversion.mapping.label_map
    named = _named(rules)
    wanted = [index for index, name in enumerate(label_map.names) if name not in named]
    if not wanted:
        return ()
    found = classes_in_use((job for job in jobs() if isinstance(job, Job)), wanted, conversion)
    unused = tuple(label_map.names[index] for index in wanted if index not in found)
    used = [name for name in label_map.names if name not in unused]
    return unused if len(used) > 1 else ()


def without(conversion: Conversion, unused: tuple[str, ...]) -> tuple[Conversion, ClassMapping]:
    """Return the conversion that leaves these classes out, and where the labels go then."""
    mapping = conversion.mapping
    old = mapping.label_map
    kept = [index for index, name in enumerate(old.names) if name not in unused]
    indices = np.full(256, IGNORE_INDEX, np.uint8)
    indices[kept] = np.arange(len(kept))
    targets = {
        label: int(indices[index])
        for label, index in mapping.targets.items()
        if index == IGNORE_INDEX or index in kept
    }
    narrowed = replace(
        mapping,
        label_map=LabelMap(tuple(old.classes[index] for index in kept)),
        targets=targets,
        unlabelled=int(indices[mapping.unlabelled]),
    )
    return replace(conversion, kept=Kept(tuple(kept), indices)), narrowed


def require_labels(quality: LabelQuality, rules: MappingRules, where: str, notes: Notes) -> None:
    """Refuse images that show nothing to learn, unless the user named a class.

    Raises:
        DataError: no image has any class.
        LabelMapError: they all have the same one, and background is no class here.
    """
    names, named = quality.label_map.names, _named(rules)
    by_class = zip(names, quality.class_images, strict=True)
    unused = [name for name, images in by_class if not images and name not in named]
    if not set(names) - {BACKGROUND, *unused}:
        shown = ", ".join(f"'{name}'" for name in unused)
        raise DataError(
            where,
            f"no pixel of any label ({shown}) in {counted(quality.samples, 'image')}",
            "at least one",
            _remedy(quality, notes),
        )
    used = [name for name in names if name not in unused]
    if len(used) < 2:
        raise only_one_class(where, used[0])


def _named(rules: MappingRules) -> set[str]:
    return {BACKGROUND, *(rule.target for rule in rules.rules)}


def _remedy(quality: LabelQuality, notes: Notes) -> str:
    """Say what to do: first what the findings tell, as they may be why nothing is labelled."""
    if quality.finding_counts["255 alone"]:
        return (
            "with a class list, 255 is 'no ground truth', and the masks have nothing but 0 and "
            "255. If 255 is a class, give it a line in the class list ('0 background' and "
            "'255 road'), or take the list away: without one 0 and 255 are read as they are"
        )
    if quality.finding_counts["outside the image"]:
        return "shapes lie outside their images: give the images that were labelled with --images"
    found = [f"{what}: {count:,}" for what, count in sorted(notes.counts.items())]
    left_out = f" ({'; '.join(found)})" if found else ""
    return f"label images, or export the task that is labelled{left_out}"
