"""The step: fetch, open, map classes, convert on all cores, write the data set and its report."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.cli import ArtifactMetadata, output_file, output_folder
from components.convert_labels.class_mapping import (
    ClassMapping,
    MappingRules,
    map_classes,
    parse_classes,
)
from components.convert_labels.conversion import Converted, Job, convert_jobs
from components.convert_labels.detection import open_export
from components.convert_labels.exports import SOME_NAMES, Export
from components.convert_labels.fetching import local_copy
from components.convert_labels.image_finder import ImageFinder
from components.convert_labels.label_pixels import make_tables
from components.convert_labels.label_report import write_label_report
from components.convert_labels.planning import Policies, Refused, plan_jobs
from components.convert_labels.quality import FINDINGS, LabelQuality, metrics, write_findings
from components.convert_labels.released_memory import release_memory
from components.convert_labels.report_facts import ReportFacts, make_facts
from components.convert_labels.request import Request
from components.convert_labels.source_listing import open_source
from components.convert_labels.unused_classes import (
    leave_out,
    unused_classes,
    without_undrawn,
)
from segmentor import __version__
from segmentor.dataset import Dataset
from segmentor.dataset_writer import DatasetWriter
from segmentor.errors import ConfigError, DataError
from segmentor.near_duplicates import near_duplicates_of
from segmentor.progress import track

logger = logging.getLogger(__name__)


def run(request: Request) -> ArtifactMetadata:
    """Runs the step; returns the metadata of its artifacts.

    Raises:
        DataError: the export, or samples of it, cannot be used; the report lists them all.
        ConfigError: an option that cannot be, or an output in the place of something else.
    """
    request.check_outputs()
    rules = _rules(request)
    with output_folder(request.dataset) as folder:
        made = _make_samples(request, rules, folder)
        release_memory()
        mapping, quality, notes = made.mapping, made.quality, made.export.notes
        _refuse(request, make_facts(request, made.export, mapping, made.grouping), quality)
        unused = unused_classes(quality, rules, request.source, notes)
        if unused:
            mapping = leave_out(folder, mapping, unused)
            quality.narrow_to(mapping.label_map)
        _find_near_duplicates(folder, quality)
        unused = (*made.undrawn, *unused)
        facts = make_facts(request, made.export, mapping, made.grouping, unused)
        with output_file(request.label_report) as page:
            warnings = write_label_report(page, facts, quality, folder)
        digest = Dataset(folder).digest
        figures = metrics(quality)
        with output_file(request.label_metrics) as file:
            file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for text in warnings.get("warnings", "").splitlines():
        logger.warning("%s", text)
    logger.info("converted samples=%d digest=%s", quality.samples, digest)
    metadata = {"digest": digest, "samples": quality.samples, "classes": len(mapping.label_map)}
    return {"dataset": metadata, "label_metrics": figures, "label_report": warnings}


@dataclass(frozen=True)
class _Made:
    """What was written into the folder of the data set, and how it came about."""

    export: Export
    mapping: ClassMapping
    grouping: str
    undrawn: tuple[str, ...]
    quality: LabelQuality


def _make_samples(request: Request, rules: MappingRules, folder: Path) -> _Made:
    """Fetches and opens the export, and converts all of it."""
    with contextlib.ExitStack() as stack:
        beside = request.dataset.absolute().parent
        path = stack.enter_context(local_copy(request.source, beside))
        files = open_source(path, request.source)
        elsewhere = None
        if request.images:
            images = stack.enter_context(local_copy(request.images, beside))
            elsewhere = open_source(images, request.images).without_wrapper()
        export, files = open_export(files, elsewhere)
        finder = ImageFinder(files, export.image_folders, elsewhere)
        export, undrawn = without_undrawn(export, rules)
        mapping = map_classes(
            export.classes,
            rules,
            request.unlabelled,
            export.is_ordered,
            export.is_complete,
        )
        policies = Policies(request.empty_images, request.group_pattern)
        jobs, grouping = plan_jobs(export, finder, policies)
        quality = LabelQuality(mapping.label_map)
        _convert(request, folder, export, mapping, jobs(), quality)
        for name in finder.unnamed():
            export.notes.count("images that the annotations do not name (left out)", name)
    return _Made(export, mapping, grouping, undrawn, quality)


def _rules(request: Request) -> MappingRules:
    if request.classes.strip() and request.label_map:
        raise ConfigError("parameter classes", "a value, and label_map too", "one of the two")
    if request.label_map:
        from components.convert_labels.label_map_file import read_label_map_file

        return read_label_map_file(request.label_map)
    return parse_classes(request.classes)


def _convert(
    request: Request,
    folder: Path,
    export: Export,
    mapping: ClassMapping,
    plan: Iterator[Job | Refused],
    quality: LabelQuality,
) -> None:
    """Converts and writes every sample."""

    def accepted() -> Iterator[Job]:
        for entry in plan:
            if isinstance(entry, Job):
                yield entry
            elif entry.is_ungrouped:
                quality.ungrouped.append(entry.id)
            elif entry.problem:
                _leave_out(entry.problem, request, quality)
            else:
                quality.skipped_empty.append(entry.id)

    provenance = {"source": request.source, "format": export.format, "version": __version__}
    tables = make_tables(export.classes, mapping, export.is_by_colour)
    with DatasetWriter(folder, mapping.label_map, provenance) as writer:
        done = convert_jobs(accepted(), mapping, tables)
        for converted in track(done, "convert labels", export.count or None):
            if converted.unlisted_index is not None:
                quality.unlisted_indices[converted.unlisted_index] += 1
            if converted.problem:
                _leave_out(converted.problem, request, quality)
            else:
                _write(writer, folder, converted, quality)
    if quality.ungrouped:
        _leave_out(_without_group(request, quality), request, quality)


def _write(
    writer: DatasetWriter, folder: Path, converted: Converted, quality: LabelQuality
) -> None:
    job = converted.job
    sample = writer.add_encoded(
        job.id,
        converted.image,
        converted.extension,
        converted.mask_png,
        converted.size,
        list(converted.class_pixels),
        job.group,
        job.subset,
        converted.perceptual_hash,
    )
    write_findings(folder / FINDINGS, job.id, quality.add(sample, converted))


def _find_near_duplicates(folder: Path, quality: LabelQuality) -> None:
    dataset = Dataset(folder)
    pairs = near_duplicates_of(dataset, np.array(quality.hashes, np.uint64))
    for sample_id, finding in quality.add_look_alikes(dataset, pairs):
        write_findings(folder / FINDINGS, sample_id, [finding])


def _leave_out(problem: str, request: Request, quality: LabelQuality) -> None:
    (quality.skipped if request.skip_bad_samples else quality.problems).append(problem)


def _without_group(request: Request, quality: LabelQuality) -> str:
    """One line for all: a pattern that is wrong matches none, and there may be thousands."""
    names = ", ".join(quality.ungrouped[:SOME_NAMES])
    more = ", ..." if len(quality.ungrouped) > SOME_NAMES else ""
    return (
        f"parameter group_pattern: no match, or an empty one, of '{request.group_pattern}' in "
        f"{len(quality.ungrouped):,} image names ({names}{more}), expected one in every name"
    )


def _refuse(request: Request, facts: ReportFacts, quality: LabelQuality) -> None:
    """Fails once for all bad samples, and leaves a report that lists every one of them."""
    if quality.unlisted_indices:
        # Whatever the policy: those that happen to be binary would be read as something else.
        raise DataError(
            request.source,
            f"{_masks_have(quality.unlisted_indices.total())} class indices up to "
            f"{max(quality.unlisted_indices)}, and there is no classes.txt",
            "0 and 1, or 0 and 255, without one",
            "add classes.txt, the name of each index, one a line",
        )
    if quality.problems:
        with output_file(request.label_report) as page:
            write_label_report(page, facts, quality, None)
        raise DataError.collected(
            request.source,
            quality.problems,
            f"all are listed in {request.label_report.name}; bad_samples=skip leaves them out",
        )
    if not quality.samples:
        raise DataError(request.source, "no sample", "at least one image with its labels")


def _masks_have(count: int) -> str:
    return "1 mask has" if count == 1 else f"{count:,} masks have"
