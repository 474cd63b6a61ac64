"""How the step fails: one error for all that is wrong, and the report of it is kept."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from components.cli import output_file
from components.convert_labels.masks.label_pixels import RENUMBER
from components.convert_labels.options import ConvertLabelsOptions
from components.convert_labels.raw_labels import SOME_NAMES
from components.convert_labels.report.label_report import write_label_report
from components.convert_labels.report.quality import LISTED, LabelQuality
from components.convert_labels.report.report_facts import ReportFacts
from segmentor.errors import DataError, Problem, SegmentorError, by_cause
from segmentor.label_map import IGNORE_INDEX
from segmentor.plurals import counted

logger = logging.getLogger(__name__)


def failed_report(report: Path) -> Path:
    """Return where the report of a failed step is kept: beside the output, which is not written."""
    return report.with_name(f"{report.stem}.failed.html")


@contextlib.contextmanager
def report_kept(report: Path, facts: ReportFacts, quality: LabelQuality) -> Iterator[None]:
    """Keep the report when the step fails, and name its place in the error.

    A cluster keeps no files of a failed step, so everything the report warns of is logged as well.
    """
    try:
        yield
    except SegmentorError as error:
        with output_file(failed_report(report)) as page:
            warnings = write_label_report(page, facts, quality, None)
        for text in warnings.get("warnings", "").splitlines():
            logger.warning("%s", text)
        for line in by_cause(quality.problems or quality.skipped)[:LISTED]:
            logger.error("%s", line)
        place = f"the report is in {failed_report(report)}"
        remedy = f"{error.remedy}; {place}" if error.remedy else place
        raise type(error)(error.where, error.found, error.expected, remedy) from error


def refuse(options: ConvertLabelsOptions, quality: LabelQuality) -> None:
    """Fail once for all bad samples, and where no sample is left.

    Raises:
        DataError: samples are wrong, or none is left.
    """
    if quality.unlisted_indices:
        # Under every policy: masks that happen to be binary would be read as another class.
        count, highest = quality.unlisted_indices.total(), max(quality.unlisted_indices)
        remedy = "add classes.txt: the name of each index, one a line, or '127 smoke' for one value"
        remedy = remedy if highest <= IGNORE_INDEX else RENUMBER
        raise DataError(
            options.source,
            f"{counted(count, 'mask has', 'masks have')} class indices up to {highest}, "
            "and there is no classes.txt",
            "0 and 1, or 0 and 255, without one",
            f"{remedy}; "
            "binary masks with other values were resized or saved as JPEG: make them again as PNG",
        )
    if quality.problems:
        remedy = "--bad-samples skip leaves them out"
        raise DataError.collected(options.source, quality.problems, remedy)
    if not quality.samples and quality.skipped:
        remedy = "every sample was skipped, so nothing is left"
        raise DataError.collected(options.source, quality.skipped, remedy)
    if not quality.samples:
        found = "no sample"
        if quality.skipped_empty:
            images = counted(len(quality.skipped_empty), "image has", "images have")
            found += f": {images} no labels"
        raise DataError(options.source, found, "at least one image with its labels")


def without_group(options: ConvertLabelsOptions, quality: LabelQuality) -> Problem:
    """Make one problem for all names without a match: a wrong pattern may match none."""
    names = ", ".join(quality.ungrouped[:SOME_NAMES])
    more = ", ..." if len(quality.ungrouped) > SOME_NAMES else ""
    text = (
        f"--group-pattern: no match, or an empty one, of '{options.group_pattern}' in "
        f"{counted(len(quality.ungrouped), 'image name')} ({names}{more}), expected one in every "
        "name"
    )
    return Problem("--group-pattern", text)
