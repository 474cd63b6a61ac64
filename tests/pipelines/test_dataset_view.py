"""The page to look through a data set: complete in itself, and safe whatever names there are."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipelines import dataset_view
from pipelines.dataset_view import write_view
from segmentor.dataset_writer import DatasetWriter
from segmentor.image_io import encode_png
from segmentor.label_map import LabelMap


def write_dataset(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    with DatasetWriter(folder, LabelMap.of(["background", "road"]), {}) as writer:
        for number, name in enumerate(names):
            mask = np.zeros((20, 30), np.uint8)
            mask[:5] = number % 2
            writer.add(name, encode_png(np.full((20, 30, 3), number, np.uint8)), mask, "g", "train")
    return folder


def samples_in(page: Path) -> list[dict[str, object]]:
    text = re.search(r'<script id="samples"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL)
    assert text is not None
    return json.loads(text.group(1))


def test_the_page_holds_each_sample_with_what_it_can_be_filtered_by(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "dataset", ["a", "b"])
    finding = {"id": "b", "kind": "overlap", "text": "b: box 1 loses 50 %"}
    (folder / "findings.jsonl").write_text(json.dumps(finding) + "\n")
    page = tmp_path / "view.html"
    assert write_view(folder, page) == 2
    first, second = samples_in(page)
    assert (first["id"], first["split"], first["classes"]) == ("a", "train", [0])
    assert (second["id"], second["classes"]) == ("b", [0, 1])
    assert second["problems"] == [["overlap", "b: box 1 loses 50 %"]]
    assert "<option>overlap</option>" in page.read_text()
    # Nothing is fetched from anywhere.
    assert not re.search(r'(src|href)="(?!data:)', page.read_text())


def test_a_name_that_is_markup_stays_a_name(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    page = tmp_path / "view.html"
    write_view(write_dataset(tmp_path / "dataset", [name]), page)
    assert samples_in(page)[0]["id"] == name
    assert "alert(1)</script>" not in page.read_text()


def test_of_a_large_data_set_an_even_choice_is_shown_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "dataset", [f"s{n:02d}" for n in range(20)])
    monkeypatch.setattr(dataset_view, "MAX_SAMPLES", 5)
    write_view(folder, tmp_path / "view.html")
    shown = [sample["id"] for sample in samples_in(tmp_path / "view.html")]
    assert shown == ["s00", "s04", "s08", "s12", "s16"]
    assert "Shows 5 of 20 samples." in (tmp_path / "view.html").read_text()
