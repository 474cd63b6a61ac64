"""Exports that are refused as a whole: parts are missing, or outputs would lie in them."""

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.convert_labels.source.listing import open_source
from segmentor.errors import DataError
from tests.components.convert_labels.label_builders import (
    camvid_export,
    coco_export,
    cvat_xml,
    image_files,
    mask_export,
    plain_task,
    write_files,
    write_zip,
)
from tests.components.convert_labels.step_runs import convert, failure


@pytest.mark.parametrize("output", ["dataset", "label-report", "label-metrics"])
def test_an_output_inside_the_export_is_refused(
    output: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = plain_task()
    write_files(tmp_path / "export", {"annotations.xml": cvat_xml(task), **image_files(task)})
    inside = str(tmp_path / "export" / "out" / output)
    error = failure(capfd, tmp_path / "export", tmp_path, f"--{output}", inside)
    assert f"--{output} {inside}: a place inside --source, expected one outside" in error
    assert not (tmp_path / "export" / "out").exists()


def test_an_output_in_the_place_of_the_export_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = plain_task()
    # A folder that looks as if a step had written it.
    files = {"annotations.xml": cvat_xml(task), "samples.jsonl": "", **image_files(task)}
    write_files(tmp_path / "export", files)
    error = failure(capfd, tmp_path / "export", tmp_path, "--dataset", str(tmp_path / "export"))
    assert "the place of --source too" in error
    assert (tmp_path / "export" / "annotations.xml").is_file()


def test_an_encoding_that_is_none_is_broken_xml(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = plain_task()
    xml = '<?xml version="1.0" encoding="utf-08"?>' + cvat_xml(task)
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)})
    error = failure(capfd, export, tmp_path)
    assert "annotations.xml: broken XML (unknown encoding: utf-08)" in error


def test_a_mask_that_camvid_lists_and_is_not_there_is_missed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(camvid_export(plain_task(), tmp_path / "e.zip")) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    del files["defaultannot/deep/er/b.png"]
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "default.txt: 1 mask that is not there, first defaultannot/deep/er/b.png" in error


def test_a_mask_of_which_only_the_objects_are_there_is_missed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(mask_export(plain_task(), tmp_path / "e.zip")) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    mask = files.pop("SegmentationClass/deep/er/b.png")
    files["SegmentationObject/deep/er/b.png"] = mask
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "1 mask fewer than in SegmentationObject, first deep/er/b" in error


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_nested_without_end_is_refused_before_it_is_parsed(
    opening: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Parsed, it would take a gigabyte for every 30,000 levels.
    json = '{"images": [], "annotations": [], "categories": ' + opening * 100_000
    export = write_zip(tmp_path / "e.zip", {"annotations/instances_default.json": json})
    error = failure(capfd, export, tmp_path)
    assert "instances_default.json: broken JSON (nested deeper than 100)" in error


def test_brackets_in_texts_are_no_depth(tmp_path: Path) -> None:
    # Packed run lengths have them, and may be longer than what is searched at once.
    task = plain_task()
    task.colours["[" * 90_000] = (1, 2, 3)
    dataset = convert(coco_export(task, tmp_path / "e.zip"), tmp_path)
    assert dataset.label_map.names == ("background", "car", "road", "traffic light")


def test_a_folder_that_cannot_be_read_is_refused() -> None:
    # Not in tmp_path: only its owner may look into that, and this test may be another user's.
    with tempfile.TemporaryDirectory() as name:
        export = Path(name)
        (export / "images").mkdir(mode=0)
        export.chmod(0o755)
        with (
            _without_privileges(),
            pytest.raises(DataError, match=r"images: unreadable \(Permission denied\)"),
        ):
            open_source(export, name)


@contextlib.contextmanager
def _without_privileges() -> Iterator[None]:
    """Is nobody for a while, where the tests run as root, who may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
