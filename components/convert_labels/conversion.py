"""From one item to an encoded mask: what a worker process does, and the pool of workers."""

import collections
import itertools
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from components.convert_labels.class_mapping import ClassMapping
from components.convert_labels.exports import (
    Finding,
    IndexLabel,
    RawLabel,
    ShapesLabel,
    problem_at,
)
from components.convert_labels.label_pixels import (
    ClassListError,
    PixelTables,
    read_colours,
    read_indices,
)
from components.convert_labels.painting import paint
from components.convert_labels.source_files import SourceFile
from components.convert_labels.worker_processes import worker_context
from segmentor.errors import DataError, ImageError, ImageSizeError, SegmentorError
from segmentor.image_io import ImageHeader, decode_image, read_header
from segmentor.masks import count_classes, encode_mask
from segmentor.perceptual_hash import HASHED_SIZE, perceptual_hash

# Jobs under way per worker: enough to hide the order, few enough to bound memory.
JOBS_AHEAD = 4
# So many are done sooner than workers start.
FEW_JOBS = 8


@dataclass(frozen=True)
class Job:
    """One sample to make."""

    id: str
    group: str
    subset: str
    image: SourceFile
    label: RawLabel | None


@dataclass(frozen=True)
class Converted:
    """One sample made, ready to be written; `problem` says why it could not be.

    `unlisted_index` is then the highest class index of a mask that lacks a class list, else None.
    """

    job: Job
    problem: str = ""
    unlisted_index: int | None = None
    image: bytes = b""
    extension: str = ""
    mask_png: bytes = b""
    size: tuple[int, int] = (0, 0)
    class_pixels: tuple[int, ...] = ()
    perceptual_hash: str = ""
    findings: tuple[Finding, ...] = ()


def convert_job(job: Job, mapping: ClassMapping, tables: PixelTables) -> Converted:
    """Reads, checks and converts one sample; a known error becomes its `problem`."""
    try:
        image = job.image.read()
        header = read_header(image, job.image.name)
        # Decoded for the hash, and because a photograph that is cut short shows only then.
        pixels = decode_image(image, job.image.name, at_least=(HASHED_SIZE, HASHED_SIZE))
        mask, counts, findings = _mask(job, header, mapping, tables)
    except ClassListError as error:
        return Converted(job, problem=_problem(job, error), unlisted_index=error.highest)
    except SegmentorError as error:
        return Converted(job, problem=_problem(job, error))
    if header.orientation > 1:
        text = f"{job.id}: stored turned (EXIF orientation {header.orientation}); used upright"
        findings.append(Finding("EXIF orientation", text))
    extension = "jpg" if header.format == "JPEG" else header.format.lower()
    return Converted(
        job,
        image=image,
        extension=extension,
        mask_png=encode_mask(mask),
        size=header.size,
        class_pixels=tuple(counts),
        perceptual_hash=perceptual_hash(pixels),
        findings=tuple(findings),
    )


def _problem(job: Job, error: SegmentorError) -> str:
    place = job.label.where if isinstance(job.label, ShapesLabel) else job.id
    text = problem_at(place, error)
    if isinstance(error, ImageSizeError):
        return f"{text}; cut it into tiles and label these, or delete the image in CVAT"
    if isinstance(error, ImageError) and not error.remedy:
        return f"{text}; put the whole file into the export again, or delete the image in CVAT"
    return text


def convert_jobs(
    jobs: Iterable[Job], mapping: ClassMapping, tables: PixelTables
) -> Iterator[Converted]:
    """Converts on all cores, and yields in the order of the jobs; memory is bounded.

    Raises:
        DataError: a worker was killed, most likely for want of memory.
    """
    workers = len(os.sched_getaffinity(0))
    jobs = iter(jobs)
    first = list(itertools.islice(jobs, FEW_JOBS + 1))
    if workers == 1 or len(first) <= FEW_JOBS:
        for job in itertools.chain(first, jobs):
            yield convert_job(job, mapping, tables)
        return
    context = worker_context()
    waiting: collections.deque[tuple[Job, Future[Converted]]] = collections.deque()
    with ProcessPoolExecutor(workers, context, _start_worker, (mapping, tables)) as pool:
        try:
            for job in itertools.chain(first, jobs):
                waiting.append((job, pool.submit(_work, job)))
                if len(waiting) >= JOBS_AHEAD * workers:
                    yield _result(*waiting.popleft())
            while waiting:
                yield _result(*waiting.popleft())
        except BrokenProcessPool as error:
            raise DataError(
                "convert_labels",
                "a worker process was killed",
                "enough memory for one image a core",
                "give the step more memory, or fewer CPUs",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _result(job: Job, future: Future[Converted]) -> Converted:
    converted = future.result()
    image = converted.image if converted.problem or converted.image else job.image.read()
    # With the job that was sent: names that came back would be kept a second time.
    return replace(converted, job=job, image=image)


_state: tuple[ClassMapping, PixelTables]


def _start_worker(mapping: ClassMapping, tables: PixelTables) -> None:
    global _state
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _state = (mapping, tables)


def _work(job: Job) -> Converted:
    converted = convert_job(job, *_state)
    # To read a file again costs a tenth of sending its bytes, but not if it is to be inflated.
    image = converted.image if job.image.is_deflated else b""
    # Without the shapes: they would be sent back for nothing.
    return replace(converted, job=replace(job, label=None), image=image)


def _mask(
    job: Job, header: ImageHeader, mapping: ClassMapping, tables: PixelTables
) -> tuple[NDArray[np.uint8], list[int], list[Finding]]:
    """Returns the mask, the pixels of each class, and what is odd."""
    label = job.label
    if isinstance(label, ShapesLabel):
        if label.size is not None:
            _check_size(label.size, header, label.where, "annotations for")
        targets = {**mapping.targets, "background": mapping.unlabelled}
        painted = paint(label, header.size, targets, mapping.unlabelled)
        counts = painted.value_pixels[: len(mapping.label_map)].tolist()
        return painted.mask, counts, painted.findings
    if label is None:
        mask = np.full(header.size, mapping.unlabelled, np.uint8)
    else:
        read = read_indices if isinstance(label, IndexLabel) else read_colours
        mask = read(label, tables)
        _check_size((mask.shape[0], mask.shape[1]), header, label.file.name, "a mask of")
    return mask, count_classes(mask, mapping.label_map, job.id), []


def _check_size(size: tuple[int, int], header: ImageHeader, where: str, what: str) -> None:
    if size == header.size:
        return
    turned = size == header.size[::-1] and header.orientation > 1
    raise DataError(
        where,
        f"{what} {size[1]} x {size[0]}",
        f"the image's {header.size[1]} x {header.size[0]} (width x height)",
        f"it is stored turned (EXIF {header.orientation}) and was labelled unturned: give copies "
        "without that tag with images=..."
        if turned
        else "give the images that were labelled with images=..., or export again",
    )
