"""The step: assign samples to splits, audit for leaks, write three data sets and the report."""

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.cli import ArtifactMetadata, output_file, output_folder
from components.split.grouping import group_samples
from components.split.leak_audit import find_leaks
from components.split.near_duplicates import near_duplicate_pairs
from components.split.split_report import SplitFacts, write_split_report
from components.split.splitting import SPLITS, assign_units, parse_ratios
from components.split.subsets import assign_subsets
from segmentor import __version__
from segmentor.dataset import Dataset, DatasetWriter, Sample
from segmentor.errors import SplitError
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
    """
    ratios = parse_ratios(request.ratios)
    dataset = Dataset(request.dataset)
    samples = dataset.samples
    pairs = near_duplicate_pairs(dataset, samples)
    splits, rule = _assign(request, dataset, samples, pairs, ratios)
    facts = SplitFacts(
        samples,
        splits,
        rule,
        ratios,
        joined=[pair for pair in pairs if splits[pair[0]] == splits[pair[1]]],
        torn=[pair for pair in pairs if splits[pair[0]] != splits[pair[1]]],
        leaks=find_leaks(samples, splits),
    )
    for leak in facts.leaks[:3]:
        left, right = samples[leak.left].id, samples[leak.right].id
        logger.warning("leak left=%s right=%s gap=%d", left, right, leak.gap)
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(output_folder(path)) for path in request.outputs]
        digests = [
            _write(dataset, folder, samples, np.flatnonzero(splits == index), SPLITS[index])
            for index, folder in enumerate(folders)
        ]
        with output_file(request.split_report) as page:
            write_split_report(page, dataset, facts)
    return {
        name: {"digest": digests[index], "samples": int((splits == index).sum())}
        for index, name in enumerate(SPLITS)
    }


def _assign(
    request: Request,
    dataset: Dataset,
    samples: Sequence[Sample],
    pairs: Sequence[tuple[int, int]],
    ratios: Sequence[float],
) -> tuple[NDArray[np.int8], str]:
    if request.honour_subsets:
        return assign_subsets(samples), "by the export's own subsets"
    joined = pairs if request.join_near_duplicates else ()
    grouped = group_samples(samples, len(dataset.label_map), joined)
    count = len(grouped.units.samples)
    try:
        chosen = assign_units(grouped.units, ratios, request.seed)
    except SplitError as error:
        groups = len({sample.group for sample in samples})
        if groups == count:
            raise
        found = f"{count} group(s), after {groups} were joined because images look the same"
        remedy = "--near-duplicates report keeps such images apart"
        raise SplitError(error.where, found, error.expected, remedy) from error
    return chosen[grouped.unit_of_sample], f"{count:,} groups divided with seed {request.seed}"


def _write(
    dataset: Dataset,
    folder: Path,
    samples: Sequence[Sample],
    positions: NDArray[np.int64],
    split: str,
) -> str:
    """Copies a split's samples as they are; returns the new data set's digest."""
    provenance = {"source_digest": dataset.digest, "split": split, "version": __version__}
    with DatasetWriter(folder, dataset.label_map, provenance) as writer:
        for position in track(positions.tolist(), f"write {split}"):
            sample = samples[position]
            writer.add_encoded(
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
    _copy_findings(dataset.folder / FINDINGS, folder / FINDINGS, {samples[p].id for p in positions})
    return writer.digest


def _copy_findings(source: Path, target: Path, ids: set[str]) -> None:
    if source.is_file():
        with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as kept:
            kept.writelines(line for line in lines if json.loads(line)["id"] in ids)
