"""The step: assign samples to splits, audit for leaks, write three data sets and the report."""

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.cli import (
    ArtifactMetadata,
    output_file,
    output_folder,
    refuse_foreign_folder,
    refuse_shared_folders,
)
from components.split.grouping import divide
from components.split.leak_audit import audit
from components.split.sample_table import SampleTable, read_table
from components.split.split_report import Assignment, SplitFacts, warnings_of, write_split_report
from components.split.splitting import SPLITS, parse_ratios
from components.split.subsets import assign_subsets
from segmentor import __version__
from segmentor.dataset import Dataset, Sample
from segmentor.dataset_writer import DatasetWriter
from segmentor.near_duplicates import near_duplicates_of
from segmentor.progress import track

logger = logging.getLogger(__name__)

# What convert_labels found odd, a line each; the lines go where their samples go.
FINDINGS = "findings.jsonl"


@dataclass(frozen=True)
class Request:
    """The options of the command line; `outputs` are the folders of train, val and test."""

    dataset: Path
    outputs: tuple[Path, Path, Path]
    split_report: Path
    ratios: str = "0.7,0.2,0.1"
    seed: int = 0
    honour_subsets: bool = False
    join_near_duplicates: bool = True


def run(request: Request) -> ArtifactMetadata:
    """Runs the step; returns the metadata of its artifacts.

    Raises:
        SplitError: fewer groups than splits, or subsets that are no splits.
        ConfigError: ratios that are none, or an output in the place of something else.
    """
    ratios = parse_ratios(request.ratios)
    _check_outputs(request)
    dataset = Dataset(request.dataset)
    samples = partial(_samples, dataset, request.honour_subsets)
    table = read_table(samples(), len(dataset.label_map))
    pairs = near_duplicates_of(dataset, table.hashes)
    assignment = assign(request, table, pairs, ratios)
    splits = assignment.splits
    facts = SplitFacts(
        table,
        assignment,
        () if request.honour_subsets else ratios,
        joined=[pair for pair in pairs if splits[pair[0]] == splits[pair[1]]],
        torn=[pair for pair in pairs if splits[pair[0]] != splits[pair[1]]],
        audit=audit(table, splits),
    )
    for leak in facts.audit.leaks[:3]:
        left, right = table.ids[leak.left], table.ids[leak.right]
        logger.warning("leak left=%s right=%s gap=%d", left, right, leak.gap)
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(output_folder(path)) for path in request.outputs]
        digests = _write(dataset, samples(), folders, splits)
        _share_findings(dataset, folders, dict(zip(table.ids, splits.tolist(), strict=True)))
        with output_file(request.split_report) as page:
            write_split_report(page, dataset, facts)
    warnings = [text for _, text in warnings_of(facts, dataset.label_map.names)]
    for text in warnings:
        logger.warning("%s", text)
    parts = {
        name: {"digest": digests[index], "samples": int((splits == index).sum())}
        for index, name in enumerate(SPLITS)
    }
    # A line each: metadata of the cluster is flat.
    return {**parts, "split_report": {"warnings": "\n".join(warnings)}}


def assign(
    request: Request,
    table: SampleTable,
    pairs: Sequence[tuple[int, int]],
    ratios: Sequence[float],
) -> Assignment:
    """Returns the split of each sample, and how it was found.

    Raises:
        SplitError: fewer groups than splits, or subsets that are no splits.
    """
    links = pairs if request.join_near_duplicates else ()
    if request.honour_subsets:
        splits, made_up = assign_subsets(table, ratios, request.seed, links)
        return Assignment(splits, "by the export's own subsets", made_up)
    splits, sizes = divide(table, links, ratios, request.seed)
    count = len(sizes)
    rule = f"{count:,} groups divided with seed {request.seed}"
    if count < table.group_count:
        joined = "joined where images are equal or look the same"
        rule = f"{table.group_count:,} groups, {joined} to {rule}"
    return Assignment(splits, rule, unit_sizes=tuple(sizes.tolist()))


def _check_outputs(request: Request) -> None:
    folders = {f"--{s}": path for s, path in zip(SPLITS, request.outputs, strict=True)}
    others = {"--dataset": request.dataset, "--split-report": request.split_report}
    refuse_shared_folders(folders, others)
    for folder in request.outputs:
        refuse_foreign_folder(folder)


def _samples(dataset: Dataset, honour_subsets: bool) -> Iterator[Sample]:
    """Yields the samples; a group that is but the honoured subset says nothing, and is dropped.

    convert_labels takes the subset for the group where an export tells no other.
    """
    for sample in dataset.iter_samples():
        says_nothing = honour_subsets and sample.subset and sample.group == sample.subset
        yield replace(sample, group=sample.id) if says_nothing else sample


def _write(
    dataset: Dataset, samples: Iterable[Sample], folders: Sequence[Path], splits: NDArray[np.int8]
) -> list[str]:
    """Copies the samples as they are, each to its split; returns the new data sets' digests."""
    with contextlib.ExitStack() as stack:
        writers = []
        for split, folder in zip(SPLITS, folders, strict=True):
            facts = {"source_digest": dataset.digest, "split": split, "version": __version__}
            writers.append(stack.enter_context(DatasetWriter(folder, dataset.label_map, facts)))
        tracked = track(samples, "write splits", len(splits))
        for sample, split in zip(tracked, splits.tolist(), strict=True):
            writers[split].add_encoded(
                sample.id,
                dataset.image_content(sample),
                sample.extension,
                dataset.mask_content(sample),
                sample.size,
                list(sample.class_pixels),
                sample.group,
                sample.subset,
                sample.perceptual_hash,
            )
        return [writer.digest for writer in writers]


def _share_findings(dataset: Dataset, folders: Sequence[Path], splits: dict[str, int]) -> None:
    source = dataset.folder / FINDINGS
    if not source.is_file():
        return
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((f / FINDINGS).open("w", encoding="utf-8")) for f in folders]
        for line in stack.enter_context(source.open(encoding="utf-8")):
            files[splits[json.loads(line)["id"]]].write(line)
