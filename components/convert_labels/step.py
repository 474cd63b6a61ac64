"""The step: fetch, open, map classes, convert on all cores, write the data set and its report."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.cli import ArtifactMetadata, output_file, output_folder
from components.convert_labels.classes.mapping import ClassMapping, MappingRules, map_classes
from components.convert_labels.conversion import Conversion, Converted, Job, convert_jobs
from components.convert_labels.failures import failed_report, refuse, report_kept, without_group
from components.convert_labels.formats.detection import open_export
from components.convert_labels.masks.label_pixels import make_tables
from components.convert_labels.options import ConvertLabelsOptions
from components.convert_labels.paths import OutputPaths
from components.convert_labels.planning import Policies, Refused, plan_jobs
from components.convert_labels.raw_labels import SOME_NAMES, Export
from components.convert_labels.released_memory import release_memory
from components.convert_labels.report.label_report import write_label_report
from components.convert_labels.report.quality import LabelQuality, metrics, write_findings
from components.convert_labels.report.report_facts import make_facts
from components.convert_labels.source.fetching import local_copy
from components.convert_labels.source.image_finder import ImageFinder
from components.convert_labels.source.listing import open_source
from components.convert_labels.unused_classes import (
    find_unused,
    require_labels,
    without,
    without_undrawn,
)
from components.executor_output import Metadata
from segmentor import __version__
from segmentor.dataset import FINDINGS, Dataset
from segmentor.dataset_store import commit, shard_place
from segmentor.dataset_writer import DatasetWriter
from segmentor.errors import DataError, Problem
from segmentor.near_duplicates import near_duplicates_of, write_look_alikes
from segmentor.progress import track

logger = logging.getLogger(__name__)


def run(
    options: ConvertLabelsOptions, paths: OutputPaths, expected_state: str = ""
) -> ArtifactMetadata:
    """Run the step and return the metadata of its artifacts.

    Args:
        options: The options.
        paths: The outputs.
        expected_state: What the source was when an earlier step looked; empty takes it as it is.

    Raises:
        DataError: the export, or samples of it, cannot be used; a report is kept.
        ConfigError: an output would replace something else.
    """
    paths.check(options)
    _require_state(options, expected_state)
    rules = options.rules()
    failed_report(paths.label_report).unlink(missing_ok=True)
    with output_folder(paths.dataset) as folder:
        made = _make_samples(options, rules, folder, paths.dataset.absolute().parent)
        _require_state(options, expected_state)
        release_memory()
        mapping, quality = made.mapping, made.quality
        facts = make_facts(options, made.export, mapping, made.grouping)
        with report_kept(paths.label_report, facts, quality):
            refuse(options, quality)
            require_labels(quality, rules, options.source, made.export.notes)
        _find_look_alikes(folder, quality)
        facts = replace(facts, unused_classes=made.unused)
        with output_file(paths.label_report) as page:
            warnings = write_label_report(page, facts, quality, folder)
        commit(folder, options.destination, _state_of(options, expected_state))
        digest = Dataset(folder).digest
        figures = metrics(quality)
        with output_file(paths.label_metrics) as file:
            file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for text in warnings.get("warnings", "").splitlines():
        logger.warning("%s", text)
    names = mapping.label_map.names
    shown = ", ".join(names[:SOME_NAMES]) + (", ..." if len(names) > SOME_NAMES else "")
    logger.info("converted samples=%d classes=(%s) digest=%s", quality.samples, shown, digest)
    facts_of_dataset: Metadata = {
        "digest": digest,
        "samples": quality.samples,
        "classes": len(names),
    }
    return {"dataset": facts_of_dataset, "label_metrics": figures, "label_report": warnings}


def _require_state(options: ConvertLabelsOptions, expected: str) -> None:
    """Refuse a source that has changed since check_deployment looked at it."""
    if expected and _state_of(options, "") != _state_of(options, expected):
        raise DataError(
            options.source,
            "content that has changed since check_deployment looked at it",
            "the same until it is converted",
            "run the pipeline again",
        )


def _state_of(options: ConvertLabelsOptions, expected: str) -> str:
    """Return what the source is, or was when check_deployment looked at it.

    It names the data sets that were lost behind a space.
    """
    if expected:
        return expected.partition(" ")[0]
    from segmentor.source_state import source_state

    return source_state(options.locations)


@dataclass(frozen=True)
class _Made:
    """What was written into the folder of the data set, and how."""

    export: Export
    mapping: ClassMapping
    grouping: str
    unused: tuple[str, ...]
    quality: LabelQuality


def _make_samples(
    options: ConvertLabelsOptions, rules: MappingRules, folder: Path, beside: Path
) -> _Made:
    """Fetch (downloads go to `beside`) and open the export, and convert all of it."""
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(local_copy(options.source, beside))
        files = open_source(source.path, options.source)
        elsewhere = None
        if options.images:
            images = stack.enter_context(local_copy(options.images, beside))
            elsewhere = open_source(images.path, options.images)
        export, files = open_export(files, elsewhere)
        finder = ImageFinder(files, export.image_folders, elsewhere)
        export, undrawn = without_undrawn(export, rules)
        mapping = map_classes(
            export.classes,
            rules,
            options.unlabelled,
            export.is_ordered,
            export.is_complete,
        )
        policies = Policies(options.empty_images, options.group_pattern)
        jobs, grouping = plan_jobs(export, finder, policies)
        conversion = Conversion(mapping, make_tables(export, mapping))
        unused = find_unused(jobs, rules, conversion)
        if unused:
            conversion, mapping = without(conversion, unused)
        quality = LabelQuality(mapping.label_map)
        provenance = {
            "source": options.source,
            "format": export.format,
            "version": __version__,
            **source.provenance,
        }
        place = stack.enter_context(shard_place(options.destination))
        with DatasetWriter(
            folder, mapping.label_map, provenance, location=place.location, keep=place.keep
        ) as writer:
            done = convert_jobs(_accepted(options, jobs(), quality), conversion)
            for converted in track(done, "convert labels", export.count or None):
                _take(options, writer, folder, converted, quality)
        if quality.ungrouped:
            _leave_out(without_group(options, quality), options, quality)
        for name in finder.unnamed():
            export.notes.count("images that the annotations do not name (left out)", name)
    return _Made(export, mapping, grouping, (*undrawn, *unused), quality)


def _accepted(
    options: ConvertLabelsOptions, plan: Iterator[Job | Refused], quality: LabelQuality
) -> Iterator[Job]:
    """Yield the jobs, and note why the others are left out."""
    for entry in plan:
        if isinstance(entry, Job):
            yield entry
        elif entry.is_ungrouped:
            quality.ungrouped.append(entry.id)
        elif entry.problem:
            _leave_out(entry.problem, options, quality)
        else:
            quality.skipped_empty.append(entry.id)


def _take(
    options: ConvertLabelsOptions,
    writer: DatasetWriter,
    folder: Path,
    converted: Converted,
    quality: LabelQuality,
) -> None:
    """Write a sample, or note why it cannot be."""
    if converted.unlisted_index is not None:
        quality.unlisted_indices[converted.unlisted_index] += 1
    if converted.problem:
        _leave_out(converted.problem, options, quality)
    else:
        _write(writer, folder, converted, quality)


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


def _find_look_alikes(folder: Path, quality: LabelQuality) -> None:
    """Compare the images once for all steps, and note the pairs that look the same."""
    # Each image is read once: keeping it would only take room.
    dataset = Dataset(folder, cache_bytes=0)
    pairs = near_duplicates_of(dataset, np.array(quality.hashes, np.uint64))
    write_look_alikes(folder, pairs)
    for sample_id, finding in quality.add_look_alikes(dataset, pairs):
        write_findings(folder / FINDINGS, sample_id, [finding])


def _leave_out(problem: Problem, options: ConvertLabelsOptions, quality: LabelQuality) -> None:
    (quality.skipped if options.skips_bad_samples else quality.problems).append(problem)
