"""The label report: what is in the export, what is odd, and how the masks look, in one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.convert_labels.raw_labels import SOME_NAMES
from components.convert_labels.report.contact_sheets import picture, sheets
from components.convert_labels.report.quality import LISTED, LabelQuality
from components.convert_labels.report.report_facts import ReportFacts
from segmentor.dataset import Dataset
from segmentor.errors import by_cause
from segmentor.label_map import BACKGROUND
from segmentor.masks import overlay_legend
from segmentor.plurals import counted
from segmentor.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pairs of near duplicates that are shown.
PAIRS = 6
RARE = 0.001
# What each kind of finding means to an annotator.
ADVICE = {
    "255 alone": "255 is 'no ground truth' in masks with a class list, and these masks have no "
    "class beside it. If 255 is a class, give it a line in the class list: '255 road'.",
    "EXIF orientation": "the camera was held turned; check that labels and image agree.",
    "duplicate image": "the same file under several names; if their masks differ, one is wrong.",
    "empty mask": "no pixel of any class; right for a negative, wrong when it was forgotten.",
    "mixed-label group": "shapes of one group have different labels; ungroup them or relabel.",
    "no mask file": "no mask has the image's name, so it is all background; is a file missing?",
    "near duplicate": "the images look the same; more of them teach nothing new.",
    "overlap": "over a fifth of a shape lies under later ones of another class; check the z order.",
    "outside the image": "shapes were cut off at the edge; are these the labelled images?",
    "palette order": "masks are read by index, and index 0 is not the black that they show: "
    "if black is background, save them again with background as index 0.",
    "palettes differ": "masks are read by index, and an index has different colours: if each file "
    "has its own order of classes, these masks are wrong.",
    "run lengths not in their bbox": "the mask is not where its bbox is; it may be transposed "
    "(COCO's run lengths go by columns).",
    "tiny shape": "a shape of a few pixels; often a slip of the mouse.",
}


def write_label_report(
    path: Path, facts: ReportFacts, quality: LabelQuality, folder: Path | None
) -> dict[str, str]:
    """Write the page, and return the metadata of its artifact.

    `folder` is the data set's; None if there is no data set to show.
    """
    report = Report("Label report", f"{facts.source} ({facts.format})")
    _summary(report, quality)
    _problems(report, quality)
    report.section("How labels became classes")
    report.key_values(facts.rules)
    for remark in facts.remarks:
        report.notice(remark)
    if quality.samples:
        _classes(report, quality, facts.unused_classes)
    _findings(report, quality, facts)
    if folder is not None:
        _near_duplicates(report, quality, Dataset(folder))
    if quality.samples:
        _sizes(report, quality)
        _groups(report, quality)
    if folder is not None:
        sheets(report, Dataset(folder))
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
        number = counted(len(quality.problems), "sample")
        report.notice(f"{number} cannot be converted.", "bad")
        causes = by_cause(quality.problems)
        report.table(["what is wrong, the most frequent first"], [[cause] for cause in causes])
        if len(causes) < len(quality.problems):
            report.table(["every sample"], [[problem.text] for problem in quality.problems])


def _classes(report: Report, quality: LabelQuality, unused: Sequence[str]) -> None:
    report.section("Classes")
    if unused:
        names = ", ".join(f"'{name}'" for name in unused[:LISTED])
        if len(unused) > LISTED:
            names += f" and {len(unused) - LISTED:,} more"
        it, one = ("it", "a label") if len(unused) == 1 else ("them", "labels")
        report.notice(
            f"Left out: {names}, {one} of the export that no image has. "
            f"Name {it} in --classes (or --label-map) to keep {it}."
        )
    report.legend(overlay_legend(quality.label_map))
    rows: list[Sequence[object]] = []
    for index, label in enumerate(quality.label_map.classes):
        share = quality.class_pixels[index] / max(1, quality.pixels)
        images = quality.class_images[index]
        rows.append(
            (index, label.name, quality.class_pixels[index], _percent(share), images)
            + (_percent(images / max(1, quality.samples)),)
        )
        if not images and label.name != BACKGROUND and not quality.problems:
            report.notice(
                f"Class '{label.name}' is in no image: train would refuse it. "
                "Leave it out of --classes, unless this data is only to test with."
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
    left_out = [*quality.skipped, *quality.skipped_empty, *facts.notes.counts]
    nothing = not quality.finding_counts and not left_out
    if nothing and quality.problems:
        return
    report.section("Findings", "What an annotator should look at. None of it was changed.")
    if nothing and not _are_all_boxes(quality):
        report.notice("Nothing odd was found.", "good")
    if _are_all_boxes(quality):
        report.notice(
            f"Every shape is a box ({quality.shapes:,} in all): labels for detection, painted as "
            "rectangles. A network will learn rectangles."
        )
    for what, count in sorted(facts.notes.counts.items()):
        images = _of_images(facts.notes.images.get(what, []))
        report.notice(f"{what[0].upper()}{what[1:]}: {count:,}{images}")
    if quality.skipped:
        report.notice(f"{counted(len(quality.skipped), 'sample')} left out because of errors.")
        report.table(["what is wrong"], [[problem.text] for problem in quality.skipped])
    if quality.skipped_empty:
        names = ", ".join(quality.skipped_empty[:LISTED])
        more = ", ..." if len(quality.skipped_empty) > LISTED else ""
        images = counted(len(quality.skipped_empty), "image")
        report.notice(f"{images} left out because they have no labels: {names}{more}")
    for kind, count in sorted(quality.finding_counts.items()):
        shown = quality.findings[kind]
        more = f" (the first {len(shown)})" if count > len(shown) else ""
        report.notice(f"{count:,} x {kind}{more}: {ADVICE[kind]}")
        report.table(["where"], [[text] for text in shown])


def _are_all_boxes(quality: LabelQuality) -> bool:
    return quality.boxes == quality.shapes > 0


def _near_duplicates(report: Report, quality: LabelQuality, dataset: Dataset) -> None:
    positions = [position for pair in quality.near_duplicates[:PAIRS] for position in pair]
    samples = dataset.samples_at(positions)
    if positions:
        report.paragraph("Near duplicates, two by two; split keeps them together:")
        report.pictures((samples[p].id, picture(dataset, samples[p])) for p in positions)


def _sizes(report: Report, quality: LabelQuality) -> None:
    report.section("Sizes of images")
    rows = [
        (f"{width} x {height}", count, _percent(count / quality.samples))
        for (height, width), count in quality.sizes.most_common(12)
    ]
    report.table(["width x height", "images", "of all"], rows)
    if len(quality.sizes) > 12:
        report.paragraph(f"and {counted(len(quality.sizes) - 12, 'other size')}")
    if len({height * width for height, width in quality.sizes}) > 1:
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
    report.section("Groups", "Images of one group always stay in the same split.")
    if len(quality.groups) == quality.samples:
        report.paragraph("Each image is its own group.")
        return
    report.table(["group", "samples"], quality.largest_groups(12))
    if len(quality.groups) > 12:
        report.paragraph(f"and {counted(len(quality.groups) - 12, 'smaller one')}")


def _of_images(names: Sequence[str]) -> str:
    """Name the images to open in CVAT: a region drawn as a polyline is a missing label."""
    if not names:
        return ""
    more = ", ..." if len(names) > SOME_NAMES else ""
    return f", in {', '.join(names[:SOME_NAMES])}{more}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
