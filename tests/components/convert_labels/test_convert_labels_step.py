"""convert_labels as its users run it: what comes out, what is refused, and in which words."""

import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segmentor.image_io import encode_jpeg
from segmentor.object_store import ObjectStore, ObjectUri
from tests.components.convert_labels.label_builders import (
    Drawn,
    Task,
    camvid_export,
    coco_export,
    convert,
    cvat_xml,
    datumaro_export,
    encoded,
    image_files,
    images_export,
    mask_export,
    masks_of,
    photograph,
    plain_task,
    png,
    run_convert,
    write_files,
    write_zip,
)

BOX = Drawn("box", "car", [1, 1, 9, 9])


def failure(
    capfd: pytest.CaptureFixture[str], source: Path | str, folder: Path, *flags: str
) -> str:
    """Runs the step, which must fail with one known error and leave no data set."""
    assert run_convert(source, folder, *flags) == 3
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert not (folder / "dataset").exists()
    assert not list(folder.glob(".*"))
    return lines[0]


def many_images(count: int) -> Task:
    images = {f"drive_{n % 4}_{n:04d}.jpg": (24, 32) for n in range(count)}
    return Task(images, {name: [BOX] for name in images})


def test_two_runs_give_equal_digests_and_equal_files(tmp_path: Path) -> None:
    export = images_export(many_images(30), tmp_path / "e.zip")
    first, second = (convert(export, tmp_path / run) for run in ("a", "b"))
    assert first.digest == second.digest
    for name in ("samples.jsonl", "shard-00000.tar", "manifest.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


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
        ("ftp://host/a.zip", "scheme 'ftp', expected a path, s3:// or minio://"),
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
    assert "no known export format (notes, readme.md), expected CVAT for images" in error


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
    assert "and 4 more; all are listed in label-report" in error
    assert (tmp_path / "label-report").read_text().count("colour (9, 9, 9)") == 14


def test_bad_samples_are_left_out_and_reported_when_a_policy_says_so(tmp_path: Path) -> None:
    task = plain_task()
    files = {"annotations.xml": cvat_xml(task), **image_files(task)}
    files["images/a.b c.jpg"] = files["images/a.b c.jpg"][:700]
    export = write_zip(tmp_path / "e.zip", files)
    dataset = convert(export, tmp_path, "--bad-samples", "skip")
    assert {sample.id for sample in dataset.samples} == {"deep/er/b", "none"}
    report = (tmp_path / "label-report").read_text()
    assert "1 images left out by a policy" in report
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
    assert "none: no image in" in error
    assert "give --images where the images are" in error


def test_a_gigantic_image_is_refused_from_its_header(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(encoded((20, 20), "x.png"))
    content[16:24] = struct.pack(">II", 60_000, 40_000)  # IHDR: width, height
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    task = Task({"x.png": (40_000, 60_000)}, {"x.png": [BOX]})
    files = {"annotations.xml": cvat_xml(task), "images/x.png": bytes(content)}
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "60000 x 40000 pixels, expected at most 200,000,000 pixels" in error


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
        assert "none: no labels, expected at least one" in error


def test_unlabelled_images_of_a_camvid_export_without_images_are_listed(tmp_path: Path) -> None:
    task = plain_task()
    full = camvid_export(task, tmp_path / "full.zip")
    with zipfile.ZipFile(full) as archive:
        names = [name for name in archive.namelist() if not name.startswith("default/")]
        export = write_zip(tmp_path / "e.zip", {name: archive.read(name) for name in names})
    pictures = write_zip(tmp_path / "pictures.zip", image_files(task, "pictures/"))
    dataset = convert(export, tmp_path, "--images", str(pictures))
    assert set(masks_of(dataset)) == {"a.b c", "deep/er/b", "none"}
    assert convert(full, tmp_path / "full").digest == dataset.digest


@pytest.mark.parametrize("export", [images_export, mask_export, coco_export, datumaro_export])
def test_odd_file_names_survive_the_way_to_the_split(
    export: Callable[[Task, Path], Path], tmp_path: Path
) -> None:
    stems = ["größe 1.2.3", "a%20b#c&d", "x.jpg", "..hidden", "-flag", "'quoted\"", "日本/語"]
    task = Task({f"{stem}.png": (24, 32) for stem in stems})
    task.shapes = {name: [BOX] for name in task.images}
    dataset = convert(export(task, tmp_path / "e.zip"), tmp_path)
    assert sorted(masks_of(dataset)) == sorted(stems)
    with tarfile.open(dataset.folder / "shard-00000.tar") as shard:
        keys = {name.partition(".")[0] for name in shard.getnames()}
    assert len(keys) == len(stems)


def test_names_of_project_subsets_do_not_collide(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "cvat_format_assets_mit" / "for_images" / "export_project"
    dataset = convert(source, tmp_path)
    ids = [sample.id for sample in dataset.samples]
    assert len(ids) == 6
    assert "Train/img0" in ids
    assert "Test/img0" in ids
    assert {sample.group for sample in dataset.samples} == {"Train", "Test", "Validation"}
    report = (tmp_path / "label-report").read_text()
    assert "3 polyline annotations (no area: not painted)" in report


def test_duplicate_names_across_tasks_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"x.png": (20, 20)}, {"x.png": [BOX]})
    xml = cvat_xml(task).replace('name="x.png"', 'name="x.png" task_id="1"')
    image = xml[xml.index("<image") : xml.index("</annotations>")]
    xml = xml.replace(image, image + image.replace('task_id="1"', 'task_id="2"'))
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)})
    error = failure(capfd, export, tmp_path)
    assert "x: the name twice, expected unique image names in a subset" in error


def test_tasks_of_a_project_are_the_groups(tmp_path: Path) -> None:
    task = many_images(4)
    xml = cvat_xml(task)
    for number in range(4):
        xml = xml.replace(f'id="{number}"', f'id="{number}" task_id="{7 + number // 2}"')
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)})
    assert [sample.group for sample in convert(export, tmp_path).samples] == ["7", "7", "8", "8"]


def test_groups_come_from_a_pattern_in_the_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export = images_export(many_images(8), tmp_path / "e.zip")
    dataset = convert(export, tmp_path, "--group-pattern", r"^(drive_\d+)_")
    assert {sample.group for sample in dataset.samples} == {f"drive_{n}" for n in range(4)}
    error = failure(capfd, export, tmp_path / "b", "--group-pattern", r"^seq")
    assert "8 problems: drive_0_0000: no match of --group-pattern '^seq'" in error
    error = failure(capfd, export, tmp_path / "c", "--group-pattern", "(")
    assert "--group-pattern: '(' (missing ), unterminated subpattern" in error


def test_video_tracks_become_frames_and_outside_ends_them(
    shared_data: Path, tmp_path: Path
) -> None:
    dataset = convert(shared_data / "cvat_format_assets_mit" / "for_video", tmp_path)
    found = masks_of(dataset)
    assert set(found) == {"frame_000010", "frame_000013", "frame_000016"}
    assert dataset.label_map.names == ("background", "II", "klhg", "z U k")
    ys, xs = np.nonzero(found["frame_000010"])
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (4, 4, 3, 9)
    assert not found["frame_000013"].any()


def test_kitti_colours_are_read_as_kitti_means_them(shared_data: Path, tmp_path: Path) -> None:
    dataset = convert(shared_data / "kitti_road_3", tmp_path)
    assert dataset.label_map.names == ("background", "lane")
    for sample in dataset.samples:
        name = sample.id.replace("um_", "um_lane_") + ".png"
        path = shared_data / "kitti_road_3" / "training" / "gt_image_2" / name
        bgr = cv2.imread(str(path))
        expected = np.where(bgr[:, :, 0] == 255, 1, np.where(bgr[:, :, 2] == 255, 0, 255))
        assert (dataset.mask(sample) == expected).all()


def test_index_masks_of_the_folder_layout_keep_their_indices(
    shared_data: Path, tmp_path: Path
) -> None:
    camvid = shared_data / "camvid_mini"
    names = [f"class {index}" for index in range(11)] + ["unlabelled"]
    files: dict[str, bytes | str] = {"classes.txt": "\n".join(names)}
    for part in ("train", "trainannot", "val", "valannot", "test", "testannot"):
        for path in sorted((camvid / part).iterdir())[:3]:
            files[f"{part}/{path.name}"] = path.read_bytes()
    source = write_files(tmp_path / "camvid", files)
    dataset = convert(source, tmp_path, "--classes", "ignore=unlabelled")
    assert dataset.label_map.names == tuple(names[:11])
    assert {sample.subset for sample in dataset.samples} == {"train", "val", "test"}
    for sample in dataset.samples:
        name = sample.id.partition("/")[2]
        truth = cv2.imread(str(camvid / f"{sample.subset}annot" / f"{name}.png"), -1)
        assert (dataset.mask(sample) == np.where(truth == 11, 255, truth)).all()


@pytest.mark.parametrize("value", [1, 255])
def test_binary_masks_need_no_class_list(value: int, tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 4:20] = value
    files = {"train/a.jpg": encoded((20, 30), "a.jpg"), "trainannot/a.png": png(mask)}
    files["val/b.png"] = encoded((20, 30), "b.png", 1)
    files["valannot/b.png"] = png(np.repeat(mask[:, :, None], 3, axis=2))
    source = write_files(tmp_path / "folder", files)
    dataset = convert(source, tmp_path, "--classes", "road=foreground")
    assert dataset.label_map.names == ("background", "road")
    for found in masks_of(dataset).values():
        assert (found == (mask > 0)).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 7), "class index 7 at (y=1, x=1), expected 0 and 1, or 0 and 255; give a classes.txt"),
        ((1, 255), "both 1 and 255, expected 0 and 1, or 0 and 255"),
    ],
)
def test_masks_that_are_not_binary_need_a_class_list(
    values: tuple[int, int], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mask = np.full((20, 30), values[0], np.uint8)
    mask[1, 1] = values[1]
    files = {"train/a.jpg": encoded((20, 30), "a.jpg"), "trainannot/a.png": png(mask)}
    assert message in failure(capfd, write_files(tmp_path / "folder", files), tmp_path)


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
    assert "the image is stored turned (EXIF 6) and was labelled unturned" in error


def test_odd_labelmaps_are_read_by_name_and_colour(tmp_path: Path) -> None:
    # Upper case first, a ':' and a '#' in names, background neither first nor black.
    lines = ["# label:color_rgb:parts:actions", "#1: lane:10,0,0::", "Background:20,0,0::"]
    lines += ["a:b:30,0,0:x,y:z", "background:0,128,0::"]
    colours = np.array([[(0, 128, 0), (10, 0, 0), (20, 0, 0), (30, 0, 0)]], np.uint8)
    files = {
        "labelmap.txt": "\r\n".join(lines),
        "SegmentationClass/x.png": png(colours),
        "JPEGImages/x.png": encoded((1, 4), "x.png"),
    }
    dataset = convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    assert dataset.label_map.names == ("background", "#1: lane", "Background", "a:b")
    assert masks_of(dataset)["x"].tolist() == [[0, 1, 2, 3]]
    assert dataset.label_map.classes[0].colour == (0, 128, 0)


def test_two_labels_of_one_colour_are_refused_unless_they_merge(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {
        "labelmap.txt": "background:0,0,0::\nvan:1,1,1::\ncar:1,1,1::\n",
        "SegmentationClass/x.png": png(np.ones((4, 4, 3), np.uint8)),
        "JPEGImages/x.png": encoded((4, 4), "x.png"),
    }
    export = write_zip(tmp_path / "e.zip", files)
    assert "'van' and 'car' have the same colour (1, 1, 1)" in failure(capfd, export, tmp_path)
    dataset = convert(export, tmp_path, "--classes", "car=car+van")
    assert masks_of(dataset)["x"].min() == 1


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
        ("label", "lorry", "label 'lorry', expected one of car, road, traffic light"),
        ("xtl", "abc", "a box that cannot be read (could not convert string to float: 'abc')"),
        ("xtl", "nan", "a coordinate that is no number"),
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
    assert "x.png, box 1 (&#x27;road&#x27;) loses 50 % of 400 pixels to later shapes" in report
    assert "x.png, group 3: car, road; each shape keeps its own label" in report
    assert "x.png, box 3 (&#x27;traffic light&#x27;): 4 pixels" in report
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
    _, log = process.communicate(timeout=60)
    assert process.returncode == code, log
    assert not list((tmp_path / "out").iterdir())
    assert "Traceback" not in log
