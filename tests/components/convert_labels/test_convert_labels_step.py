"""convert_labels as its users run it: outputs, sources, policies, the report, Ctrl-C."""

import html
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segmentor.dataset import Dataset
from segmentor.image_io import encode_jpeg
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from tests.components.convert_labels.label_builders import (
    BOX,
    Drawn,
    Task,
    cvat_xml,
    encoded,
    image_files,
    images_export,
    many_images,
    mask_export,
    photograph,
    plain_task,
    write_files,
    write_zip,
)
from tests.components.convert_labels.step_runs import (
    assert_equal_files,
    convert,
    failure,
    masks_of,
)


def test_two_runs_give_equal_digests_and_equal_files(tmp_path: Path) -> None:
    export = images_export(many_images(30), tmp_path / "e.zip")
    first, second = (convert(export, tmp_path / run) for run in ("a", "b"))
    assert first.digest == second.digest
    assert_equal_files(first.folder, second.folder)


def test_images_are_stored_as_delivered(tmp_path: Path) -> None:
    task = plain_task()
    dataset = convert(images_export(task, tmp_path / "e.zip"), tmp_path)
    files = {name.removeprefix("images/"): data for name, data in image_files(task).items()}
    contents = {dataset.image_content(sample) for sample in dataset.samples}
    assert contents == set(files.values())


def test_an_export_in_the_object_store_is_read_from_there(
    tmp_path: Path, store: ObjectStore
) -> None:
    store.ensure_bucket("exports")
    task = plain_task()
    local = mask_export(task, tmp_path / "e.zip")
    store.upload_file(local, ObjectUri("exports", "task.zip"))
    store.upload_folder(
        write_files(tmp_path / "folder", {"annotations.xml": cvat_xml(task)}),
        ObjectUri("exports", "xml"),
    )
    store.upload_folder(
        write_files(tmp_path / "pictures", image_files(task, "")), ObjectUri("exports", "images")
    )
    digest = convert(local, tmp_path / "a").digest
    assert convert("s3://exports/task.zip", tmp_path / "b").digest == digest
    beside = convert("minio://exports/xml", tmp_path / "c", "--images", "s3://exports/images/")
    assert len(beside) == 3
    assert not list((tmp_path / "c").glob(".download*"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.zip", "nothing.zip: no such file or folder, expected a CVAT export"),
        ("ftp://host/a.zip", "scheme 'ftp', expected a path, s3://, minio:// or cvat://"),
    ],
)
def test_a_source_that_is_none_is_named(
    source: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert message in failure(capfd, source, tmp_path)


def test_an_unknown_format_lists_what_was_found_and_what_is_known(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export = write_zip(tmp_path / "e.zip", {"readme.md": "x", "notes/a.txt": "y"})
    error = failure(capfd, export, tmp_path)
    assert "no known label format (notes, readme.md), expected one of CVAT for images" in error


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("a.zip", "b.zip"),
            "2 exports: a.zip, b.zip, expected one; export the project",
        ),
        (("a/annotations.xml", "b/annotations.xml"), "2 exports: a/annotations.xml, b/anno"),
        (("a.xml", "b.xml"), "several annotation files: a.xml, b.xml, expected one; export the"),
    ],
)
def test_several_exports_in_one_folder_are_told_from_one(
    names: tuple[str, ...], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export = images_export(plain_task(), tmp_path / "one.zip").read_bytes()
    xml = cvat_xml(plain_task()).encode()
    files = {name: export if name.endswith(".zip") else xml for name in names}
    assert message in failure(capfd, write_files(tmp_path / "folder", files), tmp_path)


def test_a_backup_is_told_from_an_export(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = {"task.json": "{}", "annotations.json": "[]", "data/a.png": encoded((4, 4), "a.png")}
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "this looks like a CVAT backup, expected a format that is read" in error


def test_images_without_labels_follow_the_policy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for export in (images_export, mask_export):
        source = export(plain_task(), tmp_path / f"{export.__name__}.zip")
        kept = convert(source, tmp_path / "negative" / export.__name__)
        assert masks_of(kept)["none"].max() == 0
        skipped = convert(source, tmp_path / "skip" / export.__name__, "--empty-images", "skip")
        assert "none" not in masks_of(skipped)
        error = failure(capfd, source, tmp_path / export.__name__, "--empty-images", "fail")
        assert "no labels, expected at least one" in error


def test_the_report_names_overlaps_groups_tiny_shapes_and_duplicates(tmp_path: Path) -> None:
    shapes = [
        Drawn("box", "road", [0, 0, 20, 20], group=3),
        Drawn("box", "car", [0, 0, 20, 10], z_order=1, group=3),
        Drawn("box", "traffic light", [30, 5, 32, 7]),
    ]
    task = Task({"x.png": (30, 40), "y.png": (30, 40)}, {"x.png": shapes, "y.png": [BOX]})
    files = {"annotations.xml": cvat_xml(task), **image_files(task)}
    files["images/y.png"] = files["images/x.png"]
    task.images["z.jpg"] = (30, 40)
    files["images/z.jpg"] = encode_jpeg(photograph((30, 40)), 95)
    files["annotations.xml"] = cvat_xml(task)
    convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    report = (tmp_path / "label-report").read_text()
    text = html.unescape(report)
    assert (
        "x.png (image id 0), box 'road' at x 0..20, y 0..20 loses 50 % of 400 pixels to later "
        "shapes, most to box 'car' at x 0..20, y 0..10" in text
    )
    assert "x.png (image id 0), group 3: car, road; each shape keeps its own label" in text
    assert "x.png (image id 0), box 'traffic light' at x 30..32, y 5..7: 4 pixels" in text
    assert "y: the same image file as x" in report
    lines = (tmp_path / "dataset" / "findings.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert sorted(kinds) == [
        *("duplicate image", "empty mask", "mixed-label group"),
        *("near duplicate", "overlap", "tiny shape"),
    ]
    assert "z: looks the same as " in report
    metrics = json.loads((tmp_path / "label-metrics").read_text())
    assert metrics["samples"] == 3
    assert metrics["findings"] == 6


def test_a_temporary_folder_with_a_long_path_will_do(tmp_path: Path) -> None:
    # The fork server's socket would not fit in it.
    export = images_export(many_images(30), tmp_path / "e.zip")
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    outputs = ("dataset", "label-report", "label-metrics")
    flags = [part for name in outputs for part in (f"--{name}", str(tmp_path / "out" / name))]
    command = [sys.executable, "-m", "components.convert_labels", "--source", str(export), *flags]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Dataset(tmp_path / "out" / "dataset").digest == convert(export, tmp_path / "b").digest
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_an_interrupted_run_leaves_nothing_behind(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    task = Task({f"{n:05d}.jpg": (24, 32) for n in range(4000)})
    image = encoded((24, 32), "x.jpg")
    files = {f"images/{name}": image for name in task.images}
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": cvat_xml(task), **files})
    outputs = ("dataset", "label-report", "label-metrics")
    flags = [part for name in outputs for part in (f"--{name}", str(tmp_path / "out" / name))]
    command = [sys.executable, "-m", "components.convert_labels", "--source", str(export), *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not list(tmp_path.glob("out/.dataset.partial-*/shard-*")):
        time.sleep(0.02)
    # As a terminal does it: to the whole group, workers included.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, log = process.communicate(timeout=200)
    assert process.returncode == code, log
    assert not list((tmp_path / "out").iterdir())
    assert "Traceback" not in log
