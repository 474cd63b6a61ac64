"""Wrong samples: all are reported at once, with where and why, or left out by a policy."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.components.convert_labels.label_builders import (
    BOX,
    Task,
    cvat_xml,
    encoded,
    image_files,
    many_images,
    plain_task,
    png,
    write_files,
    write_zip,
)
from tests.components.convert_labels.step_runs import convert, failure


def test_all_bad_samples_are_reported_together_with_a_coordinate(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = many_images(14)
    export = tmp_path / "folder"
    masks = {}
    for number, name in enumerate(task.images):
        mask = np.zeros((24, 32, 3), np.uint8)
        mask[3, 4 + number] = (9, 9, 9)
        masks[f"SegmentationClass/{name[:-4]}.png"] = png(mask)
    lists = "".join(f"{name[:-4]}\n" for name in task.images)
    write_files(
        export,
        {
            "labelmap.txt": "background:0,0,0::\ncar:1,2,3::\n",
            "ImageSets/Segmentation/default.txt": lists,
            **image_files(task, "JPEGImages/"),
            **masks,
        },
    )
    error = failure(capfd, export, tmp_path)
    assert (
        "14 problems: SegmentationClass/drive_0_0000.png: colour (9, 9, 9) at (y=3, x=4)" in error
    )
    assert "(14 times: also drive_1_0001, drive_2_0002, drive_3_0003, ...)" in error
    assert f"the report is in {tmp_path / 'label-report.failed.html'}" in error
    report = (tmp_path / "label-report.failed.html").read_text()
    assert report.count("colour (9, 9, 9)") == 1 + 14  # the cause, then every sample


def test_bad_samples_are_left_out_and_reported_when_a_policy_says_so(tmp_path: Path) -> None:
    task = plain_task()
    files = {"annotations.xml": cvat_xml(task), **image_files(task)}
    files["images/a.b c.jpg"] = files["images/a.b c.jpg"][:700]
    export = write_zip(tmp_path / "e.zip", files)
    dataset = convert(export, tmp_path, "--bad-samples", "skip")
    assert {sample.id for sample in dataset.samples} == {"deep/er/b", "none"}
    report = (tmp_path / "label-report").read_text()
    assert "1 sample left out because of errors" in report
    assert "a.b c.jpg: an image that cannot be decoded" in report


def test_images_cut_short_and_of_another_size_and_absent_are_problems(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = plain_task()
    files = {"annotations.xml": cvat_xml(task), **image_files(task)}
    files["images/a.b c.jpg"] = files["images/a.b c.jpg"][:700]
    files["images/deep/er/b.png"] = encoded((40, 33), "b.png")
    del files["images/none.png"]
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "3 problems" in error
    assert "a.b c.jpg: an image that cannot be decoded" in error
    assert "annotations for 33 x 47, expected the image's 33 x 40 (width x height)" in error
    assert "none.png (image id 2): no image in" in error
    assert "or delete the image in CVAT" in error
    assert "say with --images where they are" in error


def test_a_damaged_jpeg_is_a_problem_with_its_name(
    damaged_jpeg: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = plain_task()
    files = {"annotations.xml": cvat_xml(task), **image_files(task)}
    files["images/a.b c.jpg"] = damaged_jpeg
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "a.b c.jpg: an image that cannot be decoded" in error


def test_a_gigantic_image_is_refused_from_its_header(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(encoded((20, 20), "x.png"))
    content[16:24] = struct.pack(">II", 60_000, 40_000)  # IHDR: width, height
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    task = Task({"x.png": (40_000, 60_000)}, {"x.png": [BOX]})
    files = {"annotations.xml": cvat_xml(task), "images/x.png": bytes(content)}
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "60000 x 40000 pixels, expected at most 200,000,000 pixels; cut it into tiles" in error


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations>&b;</annotations>", "a document type"),
        ("<annotations><meta>", "broken XML"),
        ("<annotations><image name='x'/></annotations>", "no meta with labels"),
    ],
)
def test_xml_that_is_hostile_or_broken_is_refused(
    xml: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml})
    assert message in failure(capfd, export, tmp_path)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("label", "lorry", "label 'lorry', expected one of 'car', 'road', 'traffic light'"),
        ("xtl", "abc", "a box that cannot be read (could not convert string to float: 'abc')"),
        ("xtl", "nan", "a coordinate that is not a number"),
        ("xtl", "1e12", "a coordinate beyond a million"),
    ],
)
def test_a_shape_that_is_wrong_is_named(
    attribute: str, value: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"x.png": (20, 20)}, {"x.png": [BOX]})
    old = {"label": 'label="car"', "xtl": 'xtl="1.00"'}[attribute]
    xml = cvat_xml(task).replace(old, f'{attribute}="{value}"')
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)})
    assert message in failure(capfd, export, tmp_path)


def test_a_photograph_stored_turned_is_used_upright(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "x.jpg", exif=exif)
    content = (tmp_path / "x.jpg").read_bytes()
    upright = Task({"x.jpg": (30, 20)}, {"x.jpg": [BOX]})
    files = {"annotations.xml": cvat_xml(upright), "images/x.jpg": content}
    dataset = convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    assert dataset.samples[0].size == (30, 20)
    assert "stored turned (EXIF orientation 6)" in (tmp_path / "label-report").read_text()
    turned = Task({"x.jpg": (20, 30)}, {"x.jpg": [BOX]})
    files["annotations.xml"] = cvat_xml(turned)
    error = failure(capfd, write_zip(tmp_path / "f.zip", files), tmp_path / "b")
    assert "it is stored turned (EXIF 6): if the labels were drawn on the unturned" in error


def test_the_report_of_a_failed_conversion_says_nothing_of_samples_that_are_not_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"x.png": (20, 20)}, {"x.png": [BOX]})
    xml = cvat_xml(task).replace('xtl="1.00"', 'xtl="1e12"')
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)})
    assert "at x " in failure(capfd, export, tmp_path)
    assert not (tmp_path / "label-report").exists()
    report = (tmp_path / "label-report.failed.html").read_text()
    assert "1 sample cannot be converted." in report
    assert "redraw or delete it in CVAT" in report
    for absent in ("is in no image", "Nothing odd was found", "Sizes of images", "Groups"):
        assert absent not in report


def test_what_is_not_painted_is_told_with_its_images(tmp_path: Path) -> None:
    names = [f"{number:02d}.png" for number in range(12)]
    task = Task({name: (20, 20) for name in names}, {name: [BOX] for name in names})
    line = '<polyline label="road" points="1,1;5,5" occluded="0" z_order="0"></polyline>'
    xml = cvat_xml(task).replace("</image>", f"{line}{line}</image>")
    convert(write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)}), tmp_path)
    report = (tmp_path / "label-report").read_text()
    assert "Polyline annotations (no area: not painted): 24, in 00.png (image id 0), 01" in report
    assert "09.png (image id 9), ..." in report
    assert "10.png (image id 10)" not in report


def test_unlabelled_images_that_are_left_out_hide_no_bad_sample(tmp_path: Path) -> None:
    task = many_images(60)
    task.shapes = {name: task.shapes[name] for name in list(task.images)[45:]}
    files = {"annotations.xml": cvat_xml(task), **image_files(task)}
    last = list(files)[-1]
    files[last] = files[last][:300]
    export = write_zip(tmp_path / "e.zip", files)
    convert(export, tmp_path, "--bad-samples", "skip", "--empty-images", "skip")
    report = (tmp_path / "label-report").read_text()
    assert "1 sample left out because of errors" in report
    assert f"{last}: " in report
    assert "45 images left out because they have no labels: drive_0_0000, drive_1_0001" in report
    for policy in ("left out (--empty-images skip)", "left out (--bad-samples skip)"):
        assert policy in report


def test_images_that_no_annotation_names_are_told(tmp_path: Path) -> None:
    task = plain_task()
    files = {"annotations.xml": cvat_xml(task), **image_files(task)}
    files["images/lost/a.png"] = files["images/none.png"]
    files["preview.png"] = files["images/none.png"]
    convert(write_zip(tmp_path / "e.zip", files), tmp_path, "--empty-images", "skip")
    report = (tmp_path / "label-report").read_text()
    assert "Images that the annotations do not name (left out): 1, in images/lost/a.png" in report
