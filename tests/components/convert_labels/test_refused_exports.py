"""Exports that are refused as a whole: parts are missing, or outputs would lie in them."""

import zipfile
from pathlib import Path

import pytest

from tests.components.convert_labels.label_builders import (
    camvid_export,
    cvat_xml,
    image_files,
    mask_export,
    plain_task,
    write_files,
    write_zip,
)
from tests.components.convert_labels.step_runs import failure


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
    assert "default.txt: a mask that is not there, first defaultannot/deep/er/b.png" in error


def test_a_mask_of_which_only_the_objects_are_there_is_missed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(mask_export(plain_task(), tmp_path / "e.zip")) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    mask = files.pop("SegmentationClass/deep/er/b.png")
    files["SegmentationObject/deep/er/b.png"] = mask
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "1 masks less than in SegmentationObject, first deep/er/b" in error
