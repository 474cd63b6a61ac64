"""The split report: sizes, classes and groups of the three splits, and what leaks between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.split.leak_audit import Audit, describe
from components.split.related_names import NOTHING_RELATED, Related, torn_of, torn_sites
from components.split.sample_table import SampleTable
from components.split.splitting import SPLITS
from segmentor.dataset import Dataset, Sample
from segmentor.plurals import counted
from segmentor.report import Report

PAIRS_SHOWN = 6
LINES_SHOWN = 40
PICTURE_WIDTH = 420
# A share is far off if it differs by this much, or is below this part of the one asked for.
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
    copies: Related = NOTHING_RELATED

    @property
    def torn_copies(self) -> list[tuple[int, int]]:
        """Pairs of images of one picture in different splits."""
        return torn_of([*self.copies.pairs, *self.copies.too_many], self.splits)

    @property
    def splits(self) -> NDArray[np.int8]:
        """The split of each sample, int8 (N,)."""
        return self.assignment.splits


def write_split_report(path: Path, dataset: Dataset, facts: SplitFacts) -> None:
    """Write the page."""
    report = Report(
        "Split report", f"{counted(len(facts.table), 'sample')}, {facts.assignment.rule}"
    )
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
    """Count the images with each class: int64 (splits, K)."""
    presence = facts.table.presence
    return np.stack([presence[facts.splits == s].sum(axis=0) for s in range(len(SPLITS))])


def warnings_of(facts: SplitFacts, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return what a user should know of the split, as (how bad, text)."""
    made_up = facts.assignment.made_up
    found = [("warning", made_up)] if made_up else []
    if text := _far_from_ratios(facts):
        found.append(("warning", text))
    return found + leak_warnings(facts) + _missing_classes(facts, names)


def leak_warnings(facts: SplitFacts) -> list[tuple[str, str]]:
    """Return what makes figures on val and test better than on new data, as (how bad, text)."""
    leaks = facts.audit.leaks
    found = []
    certain = sum(leak.is_certain for leak in leaks)
    if certain:
        text = f"{_pairs_of(certain, 'neighbouring frames')} in different splits: "
        text += "figures on them will be better than on new data. "
        text += "Group by sequence (--group-pattern)."
        found.append(("bad", text))
    if facts.torn:
        text = f"{_pairs_of(len(facts.torn), 'images that look the same')} in different splits: "
        text += "figures on them will be better than on new data. Delete one of each in CVAT, or "
        # There are ratios only if subsets are not kept.
        text += "--near-duplicates together." if facts.ratios else "leave --honour-subsets out."
        found.append(("bad", text))
    if torn := facts.torn_copies:
        left, right = (facts.table.ids[position] for position in torn[0])
        text = f"{_pairs_of(len(torn), 'images that are of one picture by their names')} in "
        text += f"different splits (copies or tiles: {left} and {right}): figures on them will be "
        text += "better than on new data. "
        by_name = "Group them by the part of their names that they share (--group-pattern)."
        text += by_name if facts.ratios else "Leave --honour-subsets out."
        found.append(("bad", text))
    if text := torn_sites(facts.table, facts.splits) if facts.ratios else "":
        found.append(("warning", text))
    unsure = len(leaks) - certain
    if unsure:
        text = f"{_pairs_of(unsure, 'images numbered one after the other')} in different splits; "
        text += "their pictures do not tell whether they are of one film, being all alike or "
        text += "too few to compare. If they are, group by sequence (--group-pattern)."
        found.append(("warning", text))
    return found


def leak_provenance(facts: SplitFacts) -> dict[str, Any]:
    """Return what the manifests of the splits keep, for the evaluation and the model card."""
    not_compared = _not_compared(facts) if facts.audit.without_order else ""
    return {"leaks": [text for _, text in leak_warnings(facts)], "not_compared": not_compared}


def _missing_classes(facts: SplitFacts, names: Sequence[str]) -> list[tuple[str, str]]:
    """Name the classes that a split lacks, and those of them that it need not lack."""
    table = class_images(facts)
    missing, avoidable = [], []
    for index, name in enumerate(names):
        lacking = [s for s in np.unique(facts.splits).tolist() if not table[s, index]]
        if not lacking or not table[:, index].any():
            continue
        missing += [f"'{name}' in {SPLITS[split]}" for split in lacking]
        groups = len(np.unique(facts.table.groups[facts.table.presence[:, index]]))
        # The classes of kept subsets cannot be changed.
        if facts.ratios and groups >= len(SPLITS):
            avoidable.append(f"'{name}' ({groups:,})")
    if not missing:
        return []
    text = f"Classes that a split does not have: {', '.join(missing)}."
    if avoidable:
        text += f" Of enough groups for all three: {', '.join(avoidable)}; no division of about "
        text += "these shares was found that has them everywhere. Another seed, other ratios or "
        text += "a finer --group-pattern may give one."
    return [("warning", text)]


def _all_is_well(facts: SplitFacts) -> tuple[str, str]:
    """Say that nothing was found, and what was not looked at: (text, how good)."""
    compared = "no equal images, look-alikes, copies by name or neighbouring frames of a film"
    if not facts.audit.without_order:
        return f"Each split has each class; {compared} are in different splits.", "good"
    return f"Each split has each class. {_not_compared(facts)}", "neutral"


def _not_compared(facts: SplitFacts) -> str:
    count, total = facts.audit.without_order, len(facts.table)
    of_all = (
        f"all {counted(total, 'image')}" if count == total else f"{count:,} of {total:,} images"
    )
    return (
        f"Whether neighbouring frames of a film are in different splits is not known for {of_all}: "
        "their names tell no order. Images that look the same were looked for among all."
    )


def _far_from_ratios(facts: SplitFacts) -> str:
    """Say which splits got much more or less than was asked for, and why; "" if none did."""
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
        reason = f"the data set has only {counted(len(sizes), 'image')}. Label more."
    else:
        reason = f"no group is torn, and of the {counted(len(sizes), 'group')} the largest has "
        reason += f"{100 * max(sizes) / sum(sizes):.0f} % of the images. A finer --group-pattern "
        reason += "makes smaller ones, where that tears no film."
    return f"{', '.join(parts)}: {reason}"


def _pairs_of(count: int, what: str) -> str:
    return counted(count, f"pair of {what} is", f"pairs of {what} are")


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
        report.paragraph(f"{counted(len(facts.torn), 'pair')} in different splits{listed}:")
        report.table(["image", "looks the same as"], _names(facts, facts.torn[:LINES_SHOWN]))
        _pairs(report, dataset, facts, facts.torn)
    if facts.joined:
        report.paragraph(f"{counted(len(facts.joined), 'pair')} kept in one split:")
        _pairs(report, dataset, facts, facts.joined)
    if not facts.torn and not facts.joined:
        report.paragraph("None.")
    if facts.copies.pictures:
        pictures = counted(facts.copies.pictures, "picture has", "pictures have")
        report.paragraph(
            f"By their names, {pictures} several images: copies that differ in a hash or in what "
            "augmentation adds to a name, or tiles."
        )


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
