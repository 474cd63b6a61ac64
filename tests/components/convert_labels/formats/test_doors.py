"""Layouts as people have them are read; what is not read is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.components.convert_labels.formats.door_builders import SIZE, Files, image, indices, pairs
from tests.components.convert_labels.label_builders import (
    png,
    write_files,
    write_zip,
)
from tests.components.convert_labels.step_runs import convert, failure, masks_of


@pytest.mark.parametrize(
    ("images", "masks", "suffix"),
    [
        ("images", "masks", ""),
        ("images", "masks", "_mask"),
        ("imgs", "annotations", "_gt"),
        ("img_dir", "ann_dir", ""),
        ("stills", "labelsRaw", "_L"),
        ("train_images", "train_masks", ""),
        ("JPEGImages", "SegmentationClass", ""),
        ("701_StillsRaw_full", "LabeledApproved_full", "_L"),
        ("data", "groundtruth", "_label"),
    ],
)
def test_folders_of_images_and_masks_are_paired_whatever_they_are_called(
    images: str, masks: str, suffix: str, tmp_path: Path
) -> None:
    files = {**pairs(images, masks, suffix), "classes.txt": "background\nroad\n"}
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert dataset.label_map.names == ("background", "road")
    found = masks_of(dataset)
    assert set(found) == {"p0", "p1"}
    for seed in range(2):
        assert np.array_equal(found[f"p{seed}"], indices(seed))


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{}/images", "{}/masks"),
        ("images/{}", "masks/{}"),
        ("img_dir/{}", "ann_dir/{}"),
        ("{}", "{}annot"),
        ("{}_images", "{}_labels"),
    ],
)
def test_subsets_are_folders_and_names_may_repeat_between_them(
    images: str, masks: str, tmp_path: Path
) -> None:
    files: Files = {"classes.txt": "background\nroad\n"}
    for seed, subset in enumerate(("train", "val")):
        files[f"{images.format(subset)}/same.jpg"] = image(seed)
        files[f"{masks.format(subset)}/same.png"] = png(indices(seed))
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert {sample.subset for sample in dataset.samples} == {"train", "val"}
    for seed, subset in enumerate(("train", "val")):
        assert np.array_equal(masks_of(dataset)[f"{subset}/same"], indices(seed))
        (sample,) = (s for s in dataset.samples if s.subset == subset)
        assert dataset.image_content(sample) == image(seed)


def test_masks_of_roboflow_lie_beside_their_images(tmp_path: Path) -> None:
    files: Files = {"README.roboflow.txt": "x"}
    for seed, subset in enumerate(("train", "valid")):
        files[f"{subset}/a_jpg.rf.{'ab' * 16}.jpg"] = image(seed)
        files[f"{subset}/a_jpg.rf.{'ab' * 16}_mask.png"] = png(indices(seed, (1, 2)))
        files[f"{subset}/_classes.csv"] = "Pixel Value, Class\n0, background\n1, road\n2, car\n"
    dataset = convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    assert dataset.label_map.names == ("background", "road", "car")
    masks = masks_of(dataset)
    assert np.array_equal(masks[f"valid/a_jpg.rf.{'ab' * 16}"], indices(1, (1, 2)))


def test_coco_of_roboflow_has_a_file_in_each_subsets_folder(tmp_path: Path) -> None:
    files: Files = {"README.dataset.txt": "x"}
    for seed, subset in enumerate(("train", "test")):
        content = {
            "images": [{"id": 0, "file_name": "same.jpg", "height": 24, "width": 32}],
            "categories": [
                {"id": "0", "name": "things", "supercategory": "none"},
                {"id": "1", "name": "road", "supercategory": "things"},
            ],
            "annotations": [
                {
                    "id": 0,
                    "image_id": 0,
                    "category_id": "1",
                    "bbox": [2, 2 + seed, 10, 8],
                    "segmentation": [[2, 2 + seed, 12, 2 + seed, 12, 10 + seed, 2, 10 + seed]],
                }
            ],
        }
        files[f"{subset}/_annotations.coco.json"] = json.dumps(content)
        files[f"{subset}/same.jpg"] = image(seed)
    dataset = convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    assert dataset.label_map.names == ("background", "road")
    for seed, subset in enumerate(("train", "test")):
        expected = np.zeros(SIZE, np.uint8)
        expected[2 + seed : 10 + seed, 2:12] = 1
        assert np.array_equal(masks_of(dataset)[f"{subset}/same"], expected)


def test_images_without_a_mask_file_are_told_from_empty_masks(tmp_path: Path) -> None:
    files: Files = {**pairs("images", "masks"), "images/alone.jpg": image(7)}
    files["masks/p1.png"] = png(np.zeros(SIZE, np.uint8))
    convert(write_files(tmp_path / "e", files), tmp_path)
    findings = (tmp_path / "dataset/findings.jsonl").read_text()
    assert '"id": "alone", "kind": "no mask file"' in findings
    assert '"id": "p1", "kind": "empty mask"' in findings


def test_lists_of_pascal_voc_say_which_images_count(tmp_path: Path) -> None:
    files: Files = {
        **pairs("JPEGImages", "SegmentationClass", count=3),
        **{f"SegmentationObject/p{n}.png": png(indices(n)) for n in range(3)},
        "JPEGImages/boxes_only.jpg": image(9),
        "classes.txt": "background\nroad\n",
        "ImageSets/Segmentation/train.txt": "p0\np1\n",
        "ImageSets/Segmentation/val.txt": "p2\n",
        "ImageSets/Segmentation/trainval.txt": "p0\np1\np2\n",
    }
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert {s.id for s in dataset.samples} == {"train/p0", "train/p1", "val/p2"}
    assert "that no list in ImageSets names" in (tmp_path / "label-report").read_text()


def test_labelme_json(tmp_path: Path) -> None:
    shapes = [
        {"label": "road", "shape_type": "polygon", "points": [[2, 2], [12, 2], [12, 10], [2, 10]]},
        {"label": "car", "shape_type": "rectangle", "points": [[30, 20], [20, 14]]},
        {"label": "_background_", "shape_type": "rectangle", "points": [[4, 4], [6, 6]]},
        {"label": "road", "shape_type": "linestrip", "points": [[0, 0], [1, 1]]},
    ]
    content = {"shapes": shapes, "imagePath": "..\\pictures\\a.jpg", "imageHeight": 24}
    content |= {"imageWidth": 32, "imageData": None}
    files: Files = {"json/a.json": json.dumps(content), "pictures/a.jpg": image()}
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert dataset.label_map.names == ("background", "car", "road")
    expected = np.zeros(SIZE, np.uint8)
    expected[2:10, 2:12], expected[14:20, 20:30], expected[4:6, 4:6] = 2, 1, 0
    assert np.array_equal(masks_of(dataset)["pictures/a"], expected)
    assert "Linestrip annotations (no area" in (tmp_path / "label-report").read_text()


def test_yolo_has_polygons_and_boxes_in_fractions(tmp_path: Path) -> None:
    files: Files = {
        "data.yaml": "names: [road, car]\ntrain: ../train/images\n",
        "train/images/a.jpg": image(),
        "train/labels/a.txt": "0 0.0625 0.125 0.375 0.125 0.375 0.5 0.0625 0.5\n"
        "1 0.75 0.75 0.25 0.25\n",
        "valid/images/a.jpg": image(1),
    }
    dataset = convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    expected = np.zeros(SIZE, np.uint8)
    expected[3:12, 2:12], expected[15:21, 20:28] = 2, 1
    masks = masks_of(dataset)
    assert np.array_equal(masks["train/a"], expected)
    assert not masks["valid/a"].any()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,0.1,0.1,0.5,0.1,0.5,0.5", "'0,0.1,0.1,0.5,0.1,0.5,0.5', expected a class and"),
        ("0 4 3 20 3 20 15", "coordinate 4 ('road'), expected fractions of the image's size"),
        ("0 nan 0.1 0.5 0.1 0.5 0.5", "coordinate nan ('road'), expected fractions"),
        ("0.5 0.1 0.1 0.5 0.1 0.5 0.5", "class 0.5, expected one of 0 ('road')"),
        ("4 0.1 0.1 0.5 0.1 0.5 0.5", "class 4, expected one of 0 ('road'); give the class a name"),
    ],
)
def test_yolo_lines_that_cannot_be_meant_are_no_images_without_labels(
    line: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files: Files = {
        "data.yaml": "names: [road]\n",
        "images/a.jpg": image(),
        "labels/a.txt": "0 0.1 0.1 0.5 0.1 0.5 0.5\n",
        "images/b.jpg": image(1),
        "labels/b.txt": f"{line}\n",
        "labels/notes.txt": "made by hand\n",
    }
    error = failure(capfd, write_files(tmp_path / "e", files), tmp_path)
    assert "1 problem: b, " in error
    assert message in error


def test_yolo_classes_may_be_written_as_fractions(tmp_path: Path) -> None:
    """NumPy writes `0.0`; such a file once counted as none, and its image as empty."""
    lines = {"a": "0 0.25 0.5 0.5 0.5 0.5 0.75 0.25 0.75", "b": "0.0 2.5e-1 5.0e-1 .5 .5 .5 .75"}
    files: Files = {"classes.txt": "road\n"}
    for seed, (name, line) in enumerate(lines.items()):
        files |= {f"images/{name}.jpg": image(seed), f"labels/{name}.txt": f"{line}\n"}
    masks = masks_of(convert(write_files(tmp_path / "e", files), tmp_path))
    assert all(mask.any() for mask in masks.values())


@pytest.mark.parametrize(
    ("images", "names", "message"),
    [
        # The rarer ending may even be that of no ending.
        ("abc", ("a_mask", "b_mask", "c"), "masks/c.png for images/c.jpg, but masks/a_mask.png"),
        ("abc", ("a_mask", "b_mask", "c_gt"), "masks/c_gt.png for images/c.jpg, but masks/a_"),
        ("abcd", ("a", "b", "c_mask"), "masks/c_mask.png for images/c.jpg, but masks/a.png"),
    ],
)
def test_masks_of_several_endings_are_refused(
    images: str,
    names: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    files: Files = {f"images/{n}.jpg": image(seed) for seed, n in enumerate(images)}
    files |= {f"masks/{name}.png": png(indices()) for name in names}
    assert message in failure(capfd, write_files(tmp_path / "e", files), tmp_path)


@pytest.mark.parametrize("beside", ["classes.txt", "notes.md", "data/README.md"])
def test_a_folder_around_an_export_is_named(
    beside: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {**pairs("data/road/images", "data/road/masks"), beside: "background\nroad\n"}
    error = failure(capfd, write_files(tmp_path / "e", files), tmp_path)
    assert "a folder around data/road, expected the export itself; give that" in error


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/home/ann/data/{}.jpg", "an absolute path"),
        ("C:\\data\\{}.jpg", "an absolute path"),
        ("https://example.org/{}.jpg?key=1", "a URL"),
    ],
)
def test_names_that_lead_out_of_the_export_are_to_be_cut(
    name: str, found: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ring = [2, 2, 20, 2, 20, 12, 2, 12]
    coco = {
        "images": [
            {"id": n, "file_name": name.format(stem), "height": 24, "width": 32}
            for n, stem in enumerate("ab")
        ],
        "categories": [{"id": 1, "name": "road"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "segmentation": [ring], "iscrowd": 0}
            for n in range(2)
        ],
    }
    files: Files = {f"images/{stem}.jpg": image(seed) for seed, stem in enumerate("ab")}
    files["annotations/instances_default.json"] = json.dumps(coco)
    error = failure(capfd, write_files(tmp_path / "e", files), tmp_path)
    assert f"{found}, which is not looked for, expected a name below a folder" in error
    assert "cut the names down to what follows the folder of the images (2 times: also" in error


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"images/a.png": image(), "masks/a.gif": b"GIF89a"}, "looks like GIF masks"),
        ({"images/a.png": image(), "masks/a.npy": b"\x93NUMPY"}, "looks like labels as arrays"),
        ({"task.json": "{}", "data/a.png": image()}, "looks like a CVAT backup"),
        ({"gt/gt.txt": "1,1,2,3", "img1/000001.jpg": image()}, "looks like MOT"),
        (
            {"Annotations/a.xml": "<annotation><object><bndbox></bndbox></object></annotation>"},
            "looks like Pascal VOC, which has boxes",
        ),
        ({"via.json": '{"a": {"regions": [{"shape_attributes": {}}]}}'}, "VGG Image Annotator"),
        ({"p.json": '[{"id": 1, "annotations": [{"result": []}]}]'}, "looks like Label Studio"),
        ({"a/meta.json": "{}", "a/x/ann/a.png.json": "{}", "b.txt": ""}, "like Supervisely"),
        ({"train/_annotations.csv": "a", "train/a.jpg": image()}, "a CSV of boxes"),
        (
            {"labels/a.txt": "0 0.5 0.5 0.1 0.1\n", "images/a.jpg": image()},
            "YOLO without the names of its classes",
        ),
        ({"a.jpg": image(), "b/c.jpg": image(1)}, "images and no labels"),
        ({"a.jpg": image(), "a.png": png(indices())}, "an image and a mask of one name in one"),
        ({"via_export.csv": "a", "a.jpg": image()}, "VGG Image Annotator"),
        ({"film.mp4": b"x"}, "a film and no labels"),
        (
            {"images/cat.jpg": image(), "masks/1.png": png(indices())},
            "masks whose names no image has: masks/1.png has no image, images/cat.jpg has no mask",
        ),
    ],
)
def test_what_is_not_read_is_named(
    files: Files, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert message in failure(capfd, write_files(tmp_path / "e", files), tmp_path)
