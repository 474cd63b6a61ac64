"""From one item to an encoded mask, on all cores."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.classes.mapping import ClassMapping
from components.convert_labels.masks.label_pixels import (
    ClassListError,
    PixelTables,
    ReadMask,
    read_colours,
    read_indices,
)
from components.convert_labels.masks.painting import paint
from components.convert_labels.masks.palettes import Palette
from components.convert_labels.masks.shape_places import extent
from components.convert_labels.raw_labels import (
    Finding,
    IndexLabel,
    RawLabel,
    ShapesLabel,
)
from components.convert_labels.source.files import SourceFile
from components.convert_labels.worker_pool import on_all_cores
from segmentor.errors import DataError, ImageError, ImageSizeError, Problem, SegmentorError
from segmentor.image_io import ImageHeader, decode_image, encode_index, read_header
from segmentor.masks import count_classes
from segmentor.perceptual_hash import HASHED_SIZE, perceptual_hash
from segmentor.pixel_conversion import TRANSPOSED


@dataclass(frozen=True)
class Job:
    """One sample to make."""

    id: str
    group: str
    subset: str
    image: SourceFile
    label: RawLabel | None


@dataclass(frozen=True)
class Kept:
    """The classes that stay when unused ones are left out.

    `classes` are their old indices; `indices` has the new index of each old one: uint8 (256,).
    """

    classes: tuple[int, ...]
    indices: NDArray[np.uint8]

    def renumbered(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a mask, uint8 (H, W), with the new indices."""
        return np.asarray(cv2.LUT(mask, self.indices), np.uint8)


@dataclass(frozen=True)
class Conversion:
    """How the jobs of an export are converted: where labels go, and which classes are kept."""

    mapping: ClassMapping
    tables: PixelTables
    kept: Kept | None = None


@dataclass(frozen=True)
class Converted:
    """One sample made, ready to be written; `problem` says why it could not be.

    `unlisted_index` is then the highest class index of a mask that lacks a class list, else None.
    """

    job: Job
    problem: Problem | None = None
    unlisted_index: int | None = None
    image: bytes = b""
    extension: str = ""
    mask_png: bytes = b""
    size: tuple[int, int] = (0, 0)
    class_pixels: tuple[int, ...] = ()
    perceptual_hash: str = ""
    findings: tuple[Finding, ...] = ()
    palette: Palette = ()
    shapes: int = 0
    boxes: int = 0


@dataclass(frozen=True)
class _Mask:
    """A mask, the pixels of each class, and what else was seen while it was made."""

    pixels: NDArray[np.uint8]
    class_pixels: list[int]
    findings: list[Finding]
    palette: Palette = ()
    shapes: int = 0
    boxes: int = 0


def convert_job(job: Job, conversion: Conversion) -> Converted:
    """Read, check and convert one sample; a known error becomes its `problem`."""
    try:
        image = job.image.read()
        header = read_header(image, job.image.name)
        # Decoded for the hash, and because only decoding detects a truncated photograph.
        pixels = decode_image(image, job.image.name, at_least=(HASHED_SIZE, HASHED_SIZE))
        mask = _mask(job, header, conversion.mapping, conversion.tables)
    except ClassListError as error:
        return Converted(job, problem=_problem(job, error), unlisted_index=error.highest)
    except SegmentorError as error:
        return Converted(job, problem=_problem(job, error))
    if header.orientation > 1:
        text = f"{job.id}: stored turned (EXIF orientation {header.orientation}); used upright"
        mask.findings.append(Finding("EXIF orientation", text))
    extension = "jpg" if header.format == "JPEG" else header.format.lower()
    indices, counts, kept = mask.pixels, mask.class_pixels, conversion.kept
    if kept is not None:
        indices, counts = kept.renumbered(indices), [counts[index] for index in kept.classes]
    return Converted(
        job,
        image=image,
        extension=extension,
        mask_png=encode_index(indices),
        size=header.size,
        class_pixels=tuple(counts),
        perceptual_hash=perceptual_hash(pixels),
        findings=tuple(mask.findings),
        palette=mask.palette,
        shapes=mask.shapes,
        boxes=mask.boxes,
    )


def _problem(job: Job, error: SegmentorError) -> Problem:
    place = job.label.where if isinstance(job.label, ShapesLabel) else job.id
    advice = ""
    if isinstance(error, ImageSizeError):
        advice = "cut it into tiles and label these, or delete the image in CVAT"
    elif isinstance(error, ImageError) and not error.remedy:
        advice = "put the whole file into the export again, or delete the image in CVAT"
    return Problem.of(place, error, advice)


def convert_jobs(jobs: Iterable[Job], conversion: Conversion) -> Iterator[Converted]:
    """Convert on all cores, and yield in the order of the jobs; memory is bounded.

    Raises:
        DataError: a worker was killed, most likely for want of memory.
    """

    def here(job: Job) -> Converted:
        return convert_job(job, conversion)

    for job, converted in on_all_cores(jobs, here, _work, _set_up, (conversion,)):
        image = converted.image if converted.problem or converted.image else job.image.read()
        # With the job that was sent: the names that came back are copies of its names.
        yield replace(converted, job=job, image=image)


_conversion: Conversion


def _set_up(conversion: Conversion) -> None:
    global _conversion
    _conversion = conversion


def _work(job: Job) -> Converted:
    converted = convert_job(job, _conversion)
    # Reading a file again costs a tenth of sending its bytes, unless it must be inflated.
    image = converted.image if job.image.is_deflated else b""
    # Without the shapes: the parent process does not need them.
    return replace(converted, job=replace(job, label=None), image=image)


def _mask(job: Job, header: ImageHeader, mapping: ClassMapping, tables: PixelTables) -> _Mask:
    """Make the mask of a sample."""
    label = job.label
    if isinstance(label, ShapesLabel):
        if label.size is not None and label.size != header.size:
            raise _other_size(label.size, header, label.where, "annotations for", label)
        targets = {**mapping.targets, "background": mapping.unlabelled}
        painted = paint(label, header.size, targets, mapping.unlabelled)
        counts = painted.value_pixels[: len(mapping.label_map)].tolist()
        return _Mask(
            painted.mask, counts, painted.findings, shapes=painted.shapes, boxes=painted.boxes
        )
    if label is None:
        read = ReadMask(np.full(header.size, mapping.unlabelled, np.uint8))
    else:
        if isinstance(label, IndexLabel):
            read = read_indices(label, tables)
        else:
            read = read_colours(label, tables)
        height, width = read.pixels.shape
        if (height, width) != header.size:
            raise _other_size((height, width), header, label.file.name, "a mask of")
    counts = count_classes(read.pixels, mapping.label_map, job.id)
    return _Mask(read.pixels, counts, list(read.findings), read.palette)


def _other_size(
    size: tuple[int, int],
    header: ImageHeader,
    where: str,
    what: str,
    shapes: ShapesLabel | None = None,
) -> DataError:
    """Say that labels are of another size than their image, and what to do about it."""
    remedy = "give the images that were labelled with --images, or export again"
    if size == header.size[::-1]:
        is_turned = header.orientation in TRANSPOSED
        remedy = (
            _turned(size, shapes, f"EXIF {header.orientation}")
            if is_turned
            else (
                "width and height are swapped: correct the sizes, or give the images that were "
                "labelled with --images"
            )
        )
    return DataError(
        where,
        f"{what} {size[1]} x {size[0]}",
        f"the image's {header.size[1]} x {header.size[0]} (width x height)",
        remedy,
    )


def _turned(size: tuple[int, int], label: ShapesLabel | None, exif: str) -> str:
    """Say what to do about an image that is stored turned, labelled upright or not."""
    if label is not None:
        with contextlib.suppress(SegmentorError):
            bottom, right = extent(label.shapes(size))
            if bottom > size[0] or right > size[1]:
                return (
                    f"it is stored turned ({exif}) and its shapes fit the upright picture: swap "
                    "width and height in the annotations"
                )
    return (
        f"it is stored turned ({exif}): if the labels were drawn on the unturned picture, give "
        "copies without that tag with --images; if on the upright one, correct the size"
    )
