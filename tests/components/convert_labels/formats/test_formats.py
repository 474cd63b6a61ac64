"""What is particular to a format: video tracks, KITTI, index masks, labelmaps, CamVid lists."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.components.convert_labels.label_builders import (
    camvid_export,
    encoded,
    image_files,
    images_export,
    painted,
    plain_task,
    png,
    write_files,
    write_zip,
)
from tests.components.convert_labels.step_runs import convert, failure, masks_of


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


def test_video_tracks_become_frames_and_outside_ends_them(
    shared_data: Path, tmp_path: Path
) -> None:
    dataset = convert(shared_data / "cvat_format_assets_mit" / "for_video", tmp_path)
    found = masks_of(dataset)
    assert set(found) == {"frame_000010", "frame_000013", "frame_000016"}
    assert dataset.label_map.names == ("background", "II")  # "klhg" and "z U k" are in no frame
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


def test_index_masks_of_one_bit_have_two_classes(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[5:9, 4:20] = True
    files = {"train/a.jpg": encoded((20, 30), "a.jpg"), "trainannot/a.png": png(mask)}
    files["classes.txt"] = b"background\nroad\n"
    dataset = convert(write_files(tmp_path / "folder", files), tmp_path)
    assert (masks_of(dataset)["a"] == mask).all()


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
        ((0, 7), "1 mask has class indices up to 7, and there is no classes.txt, expected 0 and 1"),
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


def test_index_masks_without_a_class_list_are_told_once_and_never_skipped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files: dict[str, bytes | str] = {}
    for number in range(12):
        mask = np.full((20, 30), number % 4, np.uint8)
        mask[0] = 0
        files[f"train/{number}.jpg"] = encoded((20, 30), "a.jpg", number)
        files[f"trainannot/{number}.png"] = png(mask)
    source = write_files(tmp_path / "folder", files)
    error = failure(capfd, source, tmp_path, "--bad-samples", "skip")
    assert "folder: 6 masks have class indices up to 3, and there is no classes.txt" in error
    assert error.count("classes.txt") == 2
    assert "skip" not in error


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


def test_labels_of_one_colour_stay_apart_where_colours_mean_nothing(tmp_path: Path) -> None:
    task = plain_task()
    task.colours = dict.fromkeys(task.colours, (9, 9, 9))
    dataset = convert(images_export(task, tmp_path / "e.zip"), tmp_path)
    assert (masks_of(dataset)["a.b c"] == painted(task, "a.b c.jpg")).all()


def test_an_image_without_an_index_mask_is_wrong_where_no_class_is_background(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {
        "classes.txt": "road\ncar\n",
        "images/a.png": encoded((20, 30), "a.png"),
        "images/b.png": encoded((20, 30), "b.png", 1),
        "masks/a.png": png(np.eye(20, 30, dtype=np.uint8)),
    }
    export = write_zip(tmp_path / "e.zip", files)
    error = failure(capfd, export, tmp_path)
    assert "1 problem: b: no mask, expected a mask, as the classes have no background" in error
    assert masks_of(convert(export, tmp_path, "--empty-images", "skip")).keys() == {"a"}


def test_a_subset_of_camvid_without_any_label_is_not_lost(tmp_path: Path) -> None:
    # CVAT writes no folder of masks then: its list alone tells of the subset.
    files = {
        "label_colors.txt": "0 0 142 car\n",
        "train.txt": "/train/a.png trainannot/a.png\n",
        "train/a.png": encoded((20, 30), "a.png"),
        "trainannot/a.png": png(np.full((20, 30, 3), (0, 0, 142), np.uint8)),
        "test.txt": '"/test/b c "x".png" ""\n',
        'test/b c "x".png': encoded((20, 30), "b.png", 1),
    }
    found = masks_of(convert(write_zip(tmp_path / "e.zip", files), tmp_path))
    assert found.keys() == {"train/a", 'test/b c "x"'}
    assert (found["train/a"] == 1).all()
    assert not found['test/b c "x"'].any()


@pytest.mark.parametrize("background", ["", "1 2 3 background\n"])
def test_a_black_label_takes_unlabelled_pixels_and_the_report_says_so(
    background: str, tmp_path: Path
) -> None:
    mask = np.zeros((20, 30, 3), np.uint8)
    mask[:5] = (0, 0, 142)
    files = {
        "label_colors.txt": f"0 0 142 car\n0 0 0 asphalt\n{background}",
        "train/a.png": encoded((20, 30), "a.png"),
        "trainannot/a.png": png(mask),
    }
    convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    report = (tmp_path / "label-report").read_text()
    assert "Label &#x27;asphalt&#x27; is black, and so are pixels without a label" in report


def test_an_export_of_boxes_alone_is_called_by_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {
        "labelmap.txt": "background:0,0,0::\ncar:1,2,3::\n",
        "ImageSets/Segmentation/default.txt": "a\n",
        "Annotations/b.xml": "<annotation/>",
        "JPEGImages/a.png": encoded((20, 30), "a.png"),
    }
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "Pascal VOC 1.1 (Annotations/), which has boxes and no masks" in error
