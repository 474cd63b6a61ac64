"""The label report: what is in the export, what is odd, and how the masks look, in one page."""

import heapq
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.exports import SOME_NAMES
from components.convert_labels.quality import LISTED, LabelQuality
from segmentor.dataset import Dataset, Sample
from segmentor.digests import digest_bytes
from segmentor.label_map import BACKGROUND
from segmentor.masks import overlay, resize_mask
from segmentor.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES_OF_A_CLASS = 4
PICTURE_WIDTH = 420
# Pairs of near duplicates that are shown.
PAIRS = 6
RARE = 0.001
# What each kind of finding means to an annotator.
ADVICE = {
    "EXIF orientation": "the camera was held turned; check that labels and image agree.",
    "duplicate image": "the same file under several names; if their masks differ, one is wrong.",
    "empty mask": "no pixel of any class; right for a negative, wrong when it was forgotten.",
    "mixed-label group": "shapes of one group have different labels; ungroup them or relabel.",
    "near duplicate": "the images look the same; more of them teach nothing new.",
    "overlap": "over a fifth of a shape lies under later ones of another class; check the z order.",
    "tiny shape": "a shape of a few pixels; often a slip of the mouse.",
}


@dataclass(frozen=True)
class ReportFacts:
    """What the report states besides counts."""

    source: str
    format: str
    rules: tuple[tuple[str, str], ...]
    left_out: dict[str, int]
    left_out_from: dict[str, list[str]]
    unused_classes: tuple[str, ...] = ()


def write_label_report(
    path: Path, facts: ReportFacts, quality: LabelQuality, folder: Path | None
) -> dict[str, str]:
    """Writes the page, and returns the metadata of its artifact.

    `folder` is the data set's, None when there is none to show.
    """
    report = Report("Label report", f"{facts.source} ({facts.format})")
    _summary(report, quality)
    _problems(report, quality)
    report.section("How labels became classes")
    report.key_values(facts.rules)
    if quality.samples:
        _classes(report, quality, facts.unused_classes)
    _findings(report, quality, facts)
    if folder is not None:
        _near_duplicates(report, quality, Dataset(folder))
    if quality.samples:
        _sizes(report, quality)
        _groups(report, quality)
    if folder is not None:
        _sheets(report, Dataset(folder))
    path.write_text(report.html(), encoding="utf-8")
    return report.metadata()


def _summary(report: Report, quality: LabelQuality) -> None:
    report.tiles(
        [
            ("samples", quality.samples),
            ("classes", len(quality.label_map)),
            ("groups", len(quality.groups)),
            ("empty masks", quality.empty_images),
            ("findings", sum(quality.finding_counts.values())),
            ("problems", len(quality.problems)),
        ]
    )


def _problems(report: Report, quality: LabelQuality) -> None:
    if quality.problems:
        report.section("Problems")
        number = _count(len(quality.problems), "sample")
        report.notice(f"{number} cannot be converted.", "bad")
        report.table(["what is wrong"], [[problem] for problem in quality.problems])


def _classes(report: Report, quality: LabelQuality, unused: Sequence[str]) -> None:
    report.section("Classes")
    if unused:
        names = ", ".join(f"'{name}'" for name in unused)
        it, one = ("it", "a label") if len(unused) == 1 else ("them", "labels")
        report.notice(
            f"Left out: {names}, {one} of the export that no image has. "
            f"Name {it} in classes (or label_map) to keep {it}."
        )
    report.legend((label.name, label.colour) for label in quality.label_map.classes)
    rows: list[Sequence[object]] = []
    for index, label in enumerate(quality.label_map.classes):
        share = quality.class_pixels[index] / max(1, quality.pixels)
        images = quality.class_images[index]
        rows.append(
            (index, label.name, quality.class_pixels[index], _percent(share), images)
            + (_percent(images / max(1, quality.samples)),)
        )
        if not images and label.name != BACKGROUND:
            report.notice(
                f"Class '{label.name}' is in no image: nothing can learn it. "
                "Leave it out of classes, unless this data is only to test with."
            )
        elif images and share < RARE:
            report.notice(f"Class '{label.name}' is rare: {_percent(share)} of the pixels.")
    rows.append(
        (quality.label_map.ignore_index, "ignore (no ground truth)", quality.ignored_pixels)
        + (_percent(quality.ignored_pixels / max(1, quality.pixels)), "", "")
    )
    header = ["index", "class", "pixels", "of all pixels", "images with it", "of all images"]
    report.table(header, rows)


def _findings(report: Report, quality: LabelQuality, facts: ReportFacts) -> None:
    nothing = not quality.finding_counts and not quality.skipped and not facts.left_out
    if nothing and quality.problems:
        return
    report.section("Findings", "What an annotator should look at. None of it was changed.")
    if nothing:
        report.notice("Nothing odd was found.", "good")
    for what, count in sorted(facts.left_out.items()):
        images = _of_images(facts.left_out_from.get(what, []))
        report.notice(f"{what[0].upper()}{what[1:]}: {count:,}{images}")
    if quality.skipped:
        report.notice(f"{_count(len(quality.skipped), 'image')} left out by a policy")
        report.table(["left out"], [[text] for text in quality.skipped[:LISTED]])
    for kind, count in sorted(quality.finding_counts.items()):
        shown = quality.findings[kind]
        more = f" (the first {len(shown)})" if count > len(shown) else ""
        report.notice(f"{count:,} x {kind}{more}: {ADVICE[kind]}")
        report.table(["where"], [[text] for text in shown])


def _near_duplicates(report: Report, quality: LabelQuality, dataset: Dataset) -> None:
    positions = [position for pair in quality.near_duplicates[:PAIRS] for position in pair]
    samples = dataset.samples_at(positions)
    if positions:
        report.paragraph("Near duplicates, two by two; split keeps them together:")
        report.pictures((samples[p].id, _picture(dataset, samples[p])) for p in positions)


def _sizes(report: Report, quality: LabelQuality) -> None:
    report.section("Sizes of images")
    rows = [
        (f"{width} x {height}", count, _percent(count / quality.samples))
        for (height, width), count in quality.sizes.most_common(12)
    ]
    report.table(["width x height", "images", "of all"], rows)
    if len(quality.sizes) > 12:
        report.paragraph(f"and {len(quality.sizes) - 12:,} other sizes")
    if len(quality.sizes) > 1:
        report.chart(_size_histogram(quality), "Images by their number of pixels.")


def _size_histogram(quality: LabelQuality) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.4))
    axes = figure.subplots()
    megapixels = [height * width / 1e6 for height, width in quality.sizes]
    axes.hist(megapixels, bins=24, weights=list(quality.sizes.values()), color="#0b6bcb")
    axes.set_xlabel("megapixels")
    axes.set_ylabel("images")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _groups(report: Report, quality: LabelQuality) -> None:
    report.section("Groups", "A split never tears a group apart.")
    rows = [(name, count) for name, count in quality.groups.most_common(12)]
    report.table(["group", "samples"], rows)
    if len(quality.groups) > 12:
        report.paragraph(f"and {len(quality.groups) - 12:,} smaller ones")


def _sheets(report: Report, dataset: Dataset) -> None:
    report.section("How the masks look", "Images with their mask over them, chosen by class.")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        sheets = [
            (index, [(sample.id, pool.submit(_picture, dataset, sample)) for sample in chosen])
            for index, chosen in _chosen(dataset)
        ]
        for index, pictures in sheets:
            report.paragraph(f"With '{dataset.label_map.names[index]}':")
            report.pictures((name, picture.result()) for name, picture in pictures)


def _chosen(dataset: Dataset) -> Iterator[tuple[int, list[Sample]]]:
    """Chooses a few samples of each class; the digest of the id makes it random but repeatable."""
    classes = len(dataset.label_map)
    best: list[list[tuple[str, int, Sample]]] = [[] for _ in range(classes)]
    for number, sample in enumerate(dataset.iter_samples()):
        for index, count in enumerate(sample.class_pixels):
            if count:
                rank = digest_bytes(f"{index} {sample.id}".encode())
                heapq.heappush(best[index], (rank, number, sample))
                if len(best[index]) > PICTURES_OF_A_CLASS:
                    heapq.heappop(best[index])
    only = classes > 1 and dataset.label_map.names[0] == "background"
    for index in range(1 if only else 0, classes):
        if best[index]:
            yield index, [sample for _, _, sample in sorted(best[index], key=lambda e: e[1])]


def _picture(dataset: Dataset, sample: Sample) -> NDArray[np.uint8]:
    width = min(PICTURE_WIDTH, sample.width)
    height = max(1, round(sample.height * width / sample.width))
    image = dataset.image(sample, at_least=(height, width))
    image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return overlay(image, resize_mask(dataset.mask(sample), (height, width)), dataset.label_map)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _of_images(names: Sequence[str]) -> str:
    """The images to open in CVAT: a region drawn as polyline is a label that is missing."""
    if not names:
        return ""
    more = ", ..." if len(names) > SOME_NAMES else ""
    return f", in {', '.join(names[:SOME_NAMES])}{more}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
