"""The page to look through a data set: complete in itself, and safe whatever names there are."""

import io
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets import view as dataset_view
from pipelines.datasets.view import _transparent_png, write_view
from segmentor.dataset_writer import DatasetWriter
from segmentor.image_io import encode_png
from segmentor.label_map import LabelMap

# A busy machine starts a browser slowly.
PATIENCE_MS = 120_000


def write_dataset(folder: Path, names: list[str], subsets: Sequence[str] = ("train",)) -> Path:
    folder.mkdir()
    with DatasetWriter(folder, LabelMap.of(["background", "road"]), {}) as writer:
        for number, name in enumerate(names):
            mask = np.zeros((20, 30), np.uint8)
            mask[:5] = number % 2
            image = encode_png(np.full((20, 30, 3), number, np.uint8))
            writer.add(name, image, mask, "g", subsets[number % len(subsets)])
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


def test_the_three_folders_of_a_split_are_one_page(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("train", "val", "test"):
        write_dataset(folder / name, [f"{name} a", f"{name} b"], [""])
    assert write_view(folder, tmp_path / "view.html") == 6
    found = {(sample["id"], sample["split"]) for sample in samples_in(tmp_path / "view.html")}
    assert found == {(f"{s} {n}", s) for s in ("train", "val", "test") for n in "ab"}


def test_a_name_that_is_markup_stays_a_name(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    page = tmp_path / "view.html"
    write_view(write_dataset(tmp_path / "dataset", [name]), page)
    assert samples_in(page)[0]["id"] == name
    assert "alert(1)</script>" not in page.read_text()


@pytest.mark.parametrize(("name", "is_clear"), [("bg", True), ("sky", False)])
def test_background_is_clear_whatever_its_usual_name(name: str, is_clear: bool) -> None:
    content = _transparent_png(np.zeros((4, 4), np.uint8), LabelMap.of([name, "road"]))
    alpha = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))[:, :, 3]
    assert (alpha == 0).all() == is_clear


def test_of_a_large_data_set_an_even_choice_is_shown_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "dataset", [f"s{n:02d}" for n in range(20)])
    monkeypatch.setattr(dataset_view, "MAX_SAMPLES", 5)
    write_view(folder, tmp_path / "view.html")
    shown = [sample["id"] for sample in samples_in(tmp_path / "view.html")]
    assert shown == ["s00", "s04", "s08", "s12", "s16"]
    assert "Shows 5 of 20 samples." in (tmp_path / "view.html").read_text()


def test_filters_and_opacity_do_in_a_browser_what_they_say(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        message = "no Chromium: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    folder = write_dataset(tmp_path / "dataset", ["a", "b", "c", "d"], ["train", "val"])
    finding = {"id": "d", "kind": "overlap", "text": "d: box 1 loses 50 %"}
    (folder / "findings.jsonl").write_text(json.dumps(finding) + "\n")
    write_view(folder, tmp_path / "view.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE_MS
        )
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "view.html").as_uri())

        def shown() -> list[str]:
            return page.locator("figcaption b").all_inner_texts()

        assert shown() == ["a", "b", "c", "d"]
        page.select_option("#class", label="road")
        assert shown() == ["b", "d"]
        page.select_option("#problem", label="overlap")
        assert shown() == ["d"]
        assert page.locator("figcaption em").inner_text() == "d: box 1 loses 50 %"
        page.select_option("#split", label="train")
        assert shown() == []
        page.get_by_text("No sample is like that.").wait_for()
        for field in ("class", "problem"):
            page.select_option(f"#{field}", index=0)
        assert shown() == ["a", "c"]
        page.select_option("#split", index=0)
        page.fill("#name", "B")
        assert shown() == ["b"]
        page.fill("#opacity", "0.2")
        overlay = page.locator(".picture img").nth(1)
        assert overlay.evaluate("image => getComputedStyle(image).opacity") == "0.2"
        width = page.locator("figure").bounding_box()["width"]
        page.locator(".picture").first.click()
        assert page.locator("figure").bounding_box()["width"] > 2 * width
        browser.close()
    assert not errors
