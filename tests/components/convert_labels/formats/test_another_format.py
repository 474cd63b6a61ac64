"""The recipe "A label format" of docs/extending.md, followed as it stands."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from components.convert_labels import raw_labels
from components.convert_labels.formats import detection
from components.convert_labels.source.image_finder import stem
from segmentor.label_map import LabelClass
from tests.components.convert_labels.label_builders import encoded, write_files
from tests.components.convert_labels.step_runs import convert, failure, masks_of

ROOT = Path(__file__).parents[4]


@pytest.fixture
def another_format(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = (ROOT / "docs/extending.md").read_text().partition("## A label format")[2]
    code = re.search(r"```python\n(.*?)```", recipe, re.DOTALL)
    assert code is not None
    module = types.ModuleType("boxes_in_csv")
    names = ("Export", "Format", "Item", "Shape", "ShapesLabel")
    module.__dict__.update({name: getattr(raw_labels, name) for name in names})
    module.__dict__.update(np=np, stem=stem, LabelClass=LabelClass)
    # Workers find what they run by its module; one CPU or few images need none.
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code[1], "docs/extending.md", "exec"), module.__dict__)
    monkeypatch.setattr(detection, "FORMATS", (module.__dict__["FORMAT"], *detection.FORMATS))


@pytest.mark.usefixtures("another_format")
def test_a_format_is_a_module_and_an_entry(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {"boxes.csv": "a.png,2,3,12,9\n", "images/a.png": encoded((20, 30), "a.png")}
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    expected = np.zeros((20, 30), np.uint8)
    expected[3:9, 2:12] = 1
    assert np.array_equal(masks_of(dataset)["a"], expected)
    unknown = write_files(tmp_path / "unknown", {"x/y.md": "", "z.md": ""})
    assert "expected one of boxes in CSV, CVAT for images 1.1" in failure(
        capfd, unknown, tmp_path / "o"
    )


def test_the_documentation_lists_every_format_with_its_marks() -> None:
    page = (ROOT / "docs/labels.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ", page, re.MULTILINE)
    for known in detection.FORMATS:
        if known.marks:
            assert (known.name, known.marks) in rows
