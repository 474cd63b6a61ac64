"""The split report: sizes, classes and groups of the three splits, and what leaks between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from components.split.leak_audit import Audit, describe
from components.split.sample_table import SampleTable
from components.split.splitting import SPLITS
from segmentor.dataset import Dataset, Sample
from segmentor.report import Report

PAIRS_SHOWN = 6
LINES_SHOWN = 40
PICTURE_WIDTH = 420
# A share is far from the one asked for: by this much, or below this part of it.
FAR = 0.1
FAR_BELOW = 0.5


@dataclass(frozen=True)
class Assignment:
    """The split of each sample, int8 (N,), the rule in words, and what was made up.

    `unit_sizes` are the samples of each unit that was dealt out; none where subsets were kept.
    """

    splits: NDArray[np.int8]
    rule: str
    made_up: str = ""
    unit_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class SplitFacts:
    """What the report is about: the samples, the split of each, and what was found."""

    table: SampleTable
    assignment: Assignment
    ratios: Sequence[float]
    joined: Sequence[tuple[int, int]]
    torn: Sequence[tuple[int, int]]
    audit: Audit

    @property
    def splits(self) -> NDArray[np.int8]:
        """The split of each sample, int8 (N,)."""
        return self.assignment.splits


def write_split_report(path: Path, dataset: Dataset, facts: SplitFacts) -> None:
    """Writes the page."""
    report = Report("Split report", f"{len(facts.table):,} samples, {facts.assignment.rule}")
    counts = np.bincount(facts.splits, minlength=len(SPLITS))
    report.tiles((name, int(count)) for name, count in zip(SPLITS, counts, strict=True))
    warnings = warnings_of(facts, dataset.label_map.names)
    for level, text in warnings:
        report.notice(text, level)
    if not warnings:
        report.notice(*_all_is_well(facts))
    report.section("Sizes")
    rows = []
    for index, name in enumerate(SPLITS):
        groups = len(np.unique(facts.table.groups[facts.splits == index]))
        share = counts[index] / max(1, len(facts.table))
        asked = f"{100 * facts.ratios[index]:.1f} %" if facts.ratios else "n/a"
        rows.append((name, int(counts[index]), f"{100 * share:.1f} %", asked, groups))
    report.table(["split", "samples", "share", "asked for", "groups"], rows)
    _classes(report, dataset, facts)
    _leaks(report, dataset, facts)
    _duplicates(report, dataset, facts)
    path.write_text(report.html(), encoding="utf-8")


def class_images(facts: SplitFacts) -> NDArray[np.int64]:
    """Counts the images with each class: int64 (splits, K)."""
    presence = facts.table.presence
    return np.stack([presence[facts.splits == s].sum(axis=0) for s in range(len(SPLITS))])


def warnings_of(facts: SplitFacts, names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns what a user should know of the split, as (how bad, text)."""
    made_up, leaks = facts.assignment.made_up, facts.audit.leaks
    found = [("warning", made_up)] if made_up else []
    if text := _far_from_ratios(facts):
        found.append(("warning", text))
    certain = sum(leak.is_certain for leak in leaks)
    if certain:
        text = f"{_pairs_of(certain, 'neighbouring frames')} in different splits: "
        text += "figures on them will be better than on new data. "
        text += "Group by sequence (group_pattern)."
        found.append(("bad", text))
    if facts.torn:
        text = f"{_pairs_of(len(facts.torn), 'images that look the same')} in different splits: "
        text += "figures on them will be better than on new data. Delete one of each in CVAT, or "
        # Ratios are asked for where no subsets are kept.
        text += "near_duplicates=together." if facts.ratios else "leave honour_subsets out."
        found.append(("bad", text))
    unsure = len(leaks) - certain
    if unsure:
        text = f"{_pairs_of(unsure, 'images numbered one after the other')} in different splits; "
        text += "their pictures do not tell whether they are of one film, being all alike or "
        text += "too few to compare. If they are, group by sequence (group_pattern)."
        found.append(("warning", text))
    return found + _missing_classes(facts, names)


def _missing_classes(facts: SplitFacts, names: Sequence[str]) -> list[tuple[str, str]]:
    """Names the classes that a split lacks, and those of them that it need not lack."""
    table = class_images(facts)
    missing, avoidable = [], []
    for index, name in enumerate(names):
        lacking = [s for s in np.unique(facts.splits).tolist() if not table[s, index]]
        if not lacking or not table[:, index].any():
            continue
        missing += [f"'{name}' in {SPLITS[split]}" for split in lacking]
        groups = len(np.unique(facts.table.groups[facts.table.presence[:, index]]))
        # Subsets that are kept are as they are.
        if facts.ratios and groups >= len(SPLITS):
            avoidable.append(f"'{name}' ({groups:,})")
    if not missing:
        return []
    text = f"Classes that a split does not have: {', '.join(missing)}."
    if avoidable:
        text += f" Of enough groups for all three: {', '.join(avoidable)}; no division of about "
        text += "these shares was found that has them everywhere. Another seed, other ratios or "
        text += "a finer group_pattern may give one."
    return [("warning", text)]


def _all_is_well(facts: SplitFacts) -> tuple[str, str]:
    """Says that nothing was found, and what was not looked at: (text, how good)."""
    if not facts.audit.without_order:
        return "Each split has each class, and no leak was found.", "good"
    return f"Each split has each class. {_not_compared(facts)}", "neutral"


def _not_compared(facts: SplitFacts) -> str:
    count, total = facts.audit.without_order, len(facts.table)
    of_all = f"all {total:,} images" if count == total else f"{count:,} of {total:,} images"
    return (
        f"Whether neighbouring frames of a film are in different splits is not known for {of_all}: "
        "their names tell no order. Images that look the same were looked for among all."
    )


def _far_from_ratios(facts: SplitFacts) -> str:
    """Says which splits got much more or less than was asked for, and why; "" if none did."""
    sizes = facts.assignment.unit_sizes
    if not sizes or not facts.ratios:
        return ""
    shares = np.bincount(facts.splits, minlength=len(SPLITS)) / max(1, len(facts.table))
    asked = np.array(facts.ratios)
    if not ((np.abs(shares - asked) > FAR) | (shares < asked * FAR_BELOW)).any():
        return ""
    parts = [
        f"{name} has {100 * share:.0f} % of the images ({100 * ratio:.0f} % asked for)"
        for name, share, ratio in zip(SPLITS, shares, asked, strict=True)
    ]
    if max(sizes) == 1:
        reason = f"there are only {len(sizes):,} images. Label more."
    else:
        reason = f"no group is torn, and of the {len(sizes):,} groups the largest has "
        reason += f"{100 * max(sizes) / sum(sizes):.0f} % of the images. A finer group_pattern "
        reason += "makes smaller ones, where that tears no film."
    return f"{', '.join(parts)}: {reason}"


def _pairs_of(count: int, what: str) -> str:
    return f"{count} pair of {what} is" if count == 1 else f"{count} pairs of {what} are"


def _classes(report: Report, dataset: Dataset, facts: SplitFacts) -> None:
    report.section("Images with each class")
    table = class_images(facts)
    rows = [
        (name, *(int(count) for count in table[:, index]))
        for index, name in enumerate(dataset.label_map.names)
    ]
    report.table(["class", *SPLITS], rows)


def _leaks(report: Report, dataset: Dataset, facts: SplitFacts) -> None:
    report.section(
        "Leak audit",
        "Nearest frames of one sequence (names that differ in numbers, images that look alike) "
        "across splits.",
    )
    leaks = facts.audit.leaks
    if facts.audit.without_order:
        report.paragraph(_not_compared(facts))
    if not leaks:
        report.paragraph("None found." if facts.audit.without_order else "None.")
        return
    lines = [[describe(leak, facts.table, facts.splits)] for leak in leaks[:LINES_SHOWN]]
    report.table(["neighbours in different splits"], lines)
    for is_certain in (True, False):
        pairs = [(leak.left, leak.right) for leak in leaks if leak.is_certain is is_certain]
        if pairs and not is_certain:
            report.paragraph("Unsure, the two of a pair side by side:")
        _pairs(report, dataset, facts, pairs)


def _duplicates(report: Report, dataset: Dataset, facts: SplitFacts) -> None:
    report.section("Images that look the same", "By perceptual hash, then by their pixels.")
    if facts.torn:
        listed = f", the first {LINES_SHOWN}" if len(facts.torn) > LINES_SHOWN else ""
        report.paragraph(f"{len(facts.torn)} pairs in different splits{listed}:")
        report.table(["image", "looks the same as"], _names(facts, facts.torn[:LINES_SHOWN]))
        _pairs(report, dataset, facts, facts.torn)
    if facts.joined:
        report.paragraph(f"{len(facts.joined)} pairs kept in one split:")
        _pairs(report, dataset, facts, facts.joined)
    if not facts.torn and not facts.joined:
        report.paragraph("None.")


def _names(facts: SplitFacts, pairs: Sequence[tuple[int, int]]) -> list[list[str]]:
    ids, splits = facts.table.ids, facts.splits
    return [[f"{ids[p]} ({SPLITS[splits[p]]})" for p in pair] for pair in pairs]


def _pairs(
    report: Report, dataset: Dataset, facts: SplitFacts, pairs: Sequence[tuple[int, int]]
) -> None:
    positions = [position for pair in pairs[:PAIRS_SHOWN] for position in pair]
    samples = dataset.samples_at(positions)
    report.pictures(
        (f"{samples[p].id} ({SPLITS[facts.splits[p]]})", _picture(dataset, samples[p]))
        for p in positions
    )


def _picture(dataset: Dataset, sample: Sample) -> NDArray[np.uint8]:
    width = min(PICTURE_WIDTH, sample.width)
    height = max(1, round(sample.height * width / sample.width))
    image = dataset.image(sample, at_least=(height, width))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
