"""The step: assign samples to splits, audit for leaks, write three data sets and the report."""

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.cli import (
    ArtifactMetadata,
    output_file,
    output_folder,
    refuse_foreign_folder,
    refuse_shared_folders,
)
from components.executor_output import Metadata
from components.split.grouping import divide, group_samples
from components.split.leak_audit import audit
from components.split.options import SplitOptions
from components.split.related_names import NOTHING_RELATED, Related, related
from components.split.sample_table import SampleTable, read_table
from components.split.split_report import (
    Assignment,
    SplitFacts,
    leak_provenance,
    warnings_of,
    write_split_report,
)
from components.split.splitting import SPLITS
from components.split.subsets import assign_subsets
from segmentor import __version__
from segmentor.dataset import FINDINGS, Dataset, Sample
from segmentor.dataset_writer import SampleListWriter
from segmentor.near_duplicates import look_alikes_of
from segmentor.plurals import counted
from segmentor.progress import track

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paths:
    """What the step reads and writes; `outputs` are the folders of train, val and test."""

    dataset: Path
    outputs: tuple[Path, Path, Path]
    split_report: Path


def run(options: SplitOptions, paths: Paths) -> ArtifactMetadata:
    """Run the step and return the metadata of its artifacts.

    Raises:
        SplitError: fewer groups than splits, or subsets that do not name splits.
        ConfigError: an output would replace something else.
    """
    _check_outputs(paths)
    dataset = Dataset(paths.dataset)
    samples = partial(_samples, dataset, options.honour_subsets)
    table = read_table(samples(), len(dataset.label_map))
    pairs = look_alikes_of(dataset, table.hashes)
    copies = related(table)
    assignment = assign(options, table, pairs, copies)
    splits = assignment.splits
    facts = SplitFacts(
        table,
        assignment,
        () if options.honour_subsets else options.shares,
        joined=[pair for pair in pairs if splits[pair[0]] == splits[pair[1]]],
        torn=[pair for pair in pairs if splits[pair[0]] != splits[pair[1]]],
        audit=audit(table, splits),
        copies=copies,
    )
    for leak in facts.audit.leaks[:3]:
        left, right = table.ids[leak.left], table.ids[leak.right]
        logger.warning("leak left=%s right=%s gap=%d", left, right, leak.gap)
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(output_folder(path)) for path in paths.outputs]
        leaks = leak_provenance(facts)
        digests = _write(dataset, samples(), folders, paths.outputs, splits, leaks)
        _share_findings(dataset, folders, dict(zip(table.ids, splits.tolist(), strict=True)))
        with output_file(paths.split_report) as page:
            write_split_report(page, dataset, facts)
    warnings = [text for _, text in warnings_of(facts, dataset.label_map.names)]
    for text in warnings:
        logger.warning("%s", text)
    parts: dict[str, Metadata] = {
        name: {"digest": digests[index], "samples": int((splits == index).sum())}
        for index, name in enumerate(SPLITS)
    }
    # One line each, because metadata on the cluster is flat.
    return {**parts, "split_report": {"warnings": "\n".join(warnings)}}


def assign(
    options: SplitOptions,
    table: SampleTable,
    pairs: Sequence[tuple[int, int]],
    copies: Related = NOTHING_RELATED,
) -> Assignment:
    """Return the split of each sample, and how it was found.

    Raises:
        SplitError: fewer groups than splits, or subsets that do not name splits.
    """
    links = pairs if options.joins_near_duplicates else ()
    together = [*links, *copies.pairs]
    # If too few units would be left, copies may be torn, and the report says so.
    if copies.pairs and len(group_samples(table, together).units.samples) >= len(SPLITS):
        links = together
    if options.honour_subsets:
        splits, made_up = assign_subsets(table, options.shares, options.seed, links)
        return Assignment(splits, "by the export's own subsets", made_up)
    splits, sizes = divide(table, links, options.shares, options.seed)
    count = len(sizes)
    rule = f"{counted(count, 'group')}, split with seed {options.seed}"
    if count < table.group_count:
        joined = "joined where images are equal, look the same or are of one picture"
        rule = f"{counted(table.group_count, 'group')}, {joined} to {rule}"
    return Assignment(splits, rule, unit_sizes=tuple(sizes.tolist()))


def _check_outputs(paths: Paths) -> None:
    folders = {f"--{s}": path for s, path in zip(SPLITS, paths.outputs, strict=True)}
    others = {"--dataset": paths.dataset, "--split-report": paths.split_report}
    refuse_shared_folders(folders, others)
    for folder in paths.outputs:
        refuse_foreign_folder(folder)


def _samples(dataset: Dataset, honour_subsets: bool) -> Iterator[Sample]:
    """Yield the samples, without groups that are only the honoured subset.

    convert_labels takes the subset for the group where an export tells no other.
    """
    for sample in dataset.iter_samples():
        says_nothing = honour_subsets and sample.subset and sample.group == sample.subset
        yield replace(sample, group=sample.id) if says_nothing else sample


def _write(
    dataset: Dataset,
    samples: Iterable[Sample],
    folders: Sequence[Path],
    outputs: Sequence[Path],
    splits: NDArray[np.int8],
    leaks: dict[str, Any],
) -> list[str]:
    """List each sample in its split, over the same shards; returns the new data sets' digests."""
    with contextlib.ExitStack() as stack:
        writers = []
        for split, folder, output in zip(SPLITS, folders, outputs, strict=True):
            facts = {
                "source_digest": dataset.digest,
                "split": split,
                "version": __version__,
                **leaks,
            }
            shards = dataset.shard_list.seen_from(dataset.folder, output)
            writer = SampleListWriter(folder, dataset.label_map, facts, shards)
            writers.append(stack.enter_context(writer))
        tracked = track(samples, "write splits", len(splits))
        for sample, split in zip(tracked, splits.tolist(), strict=True):
            writers[split].add(sample)
        return [writer.digest for writer in writers]


def _share_findings(dataset: Dataset, folders: Sequence[Path], splits: dict[str, int]) -> None:
    source = dataset.folder / FINDINGS
    if not source.is_file():
        return
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((f / FINDINGS).open("w", encoding="utf-8")) for f in folders]
        for line in stack.enter_context(source.open(encoding="utf-8")):
            files[splits[json.loads(line)["id"]]].write(line)
