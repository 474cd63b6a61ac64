"""The pictures of the label report: every class, each picture once, and a page of bounded size."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from components.convert_labels.report.contact_sheets import MAX_PICTURES, sheets
from segmentor.dataset import Dataset
from segmentor.dataset_writer import DatasetWriter
from segmentor.image_io import encode_png
from segmentor.label_map import LabelMap
from segmentor.report import Report
from tests.components.convert_labels.label_builders import Drawn, Task, images_export
from tests.components.convert_labels.step_runs import convert


def report_on(folder: Path, names: Sequence[str], images: Sequence[Sequence[int]]) -> str:
    """Write images that have these classes, and return the sheets."""
    folder.mkdir()
    with DatasetWriter(folder, LabelMap.of(names), {}) as writer:
        for number, classes in enumerate(images):
            mask = np.zeros((8, 256), np.uint8)
            mask[0, : len(classes)] = classes
            content = encode_png(np.full((8, 256, 3), number % 256, np.uint8))
            writer.add(f"i{number:03d}", content, mask, f"i{number:03d}", "")
    report = Report("Sheets")
    sheets(report, Dataset(folder))
    return report.html()


def test_a_picture_is_shown_once_and_named_for_its_other_classes(tmp_path: Path) -> None:
    page = report_on(
        tmp_path / "dataset", ["background", "road", "car"], [[1], [1], [1, 2], [1], [1], [0]]
    )
    assert page.count("<img") == 4
    assert page.index("With &#x27;car&#x27;:") < page.index(
        "With &#x27;road&#x27; (also i002 above):"
    )
    assert "background&#x27;" not in page


def test_a_class_that_needs_no_picture_of_its_own_has_a_line(tmp_path: Path) -> None:
    page = report_on(tmp_path / "dataset", ["a", "b"], [[1], [1], [0]])
    assert page.count("<img") == 3
    page = report_on(tmp_path / "same", ["a", "b"], [[0, 1], [0, 1]])
    assert page.count("<img") == 2
    assert "With &#x27;b&#x27;: i000, i001 above." in page


def test_two_hundred_classes_are_a_page_that_opens(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(200)]
    page = report_on(tmp_path / "dataset", names, [[n] for n in range(200)])
    assert page.count("<img") == MAX_PICTURES
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(set(sources)) == MAX_PICTURES
    left_out = re.search(r"Not shown, as the page would be too large: ([^.]*)\.", page)
    assert left_out is not None
    # Background pixels are in all images, so c0 is shown.
    assert left_out.group(1).count("&#x27;c") == 200 - MAX_PICTURES - 1


@pytest.mark.parametrize(("count", "is_folded"), [(12, False), (13, True)])
def test_many_labels_that_keep_their_names_are_one_row(
    count: int, is_folded: bool, tmp_path: Path
) -> None:
    names = [f"label {n:02d}" for n in range(count)]
    boxes = [Drawn("box", name, [4 * n, 1, 4 * n + 3, 9]) for n, name in enumerate(names)]
    colours = {name: (9, n, 0) for n, name in enumerate(names)}
    task = Task({"a.png": (10, 80)}, {"a.png": boxes}, colours)
    convert(images_export(task, tmp_path / "e.zip"), tmp_path)
    page = (tmp_path / "label-report").read_text()
    assert ("<th>label 03 (4)</th>" in page) is not is_folded
    assert ("labels that keep their name</th><td>label 00 (1), label 01 (2)" in page) is is_folded
    assert "<th>background (0)</th>" in page
