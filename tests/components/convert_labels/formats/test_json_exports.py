"""What is particular to COCO and Datumaro: which JSON files are read, groups, skeletons."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.components.convert_labels.label_builders import (
    Drawn,
    Task,
    coco_export,
    datumaro_export,
    encoded,
    image_files,
    painted,
    plain_task,
    write_zip,
)
from tests.components.convert_labels.step_runs import convert, failure, masks_of

SIZE = (20, 30)
BOX = [[2, 2, 12, 2, 12, 12, 2, 12]]


def coco(name: str, **annotation: Any) -> str:
    content = {
        "categories": [{"id": 1, "name": "car"}],
        "images": [{"id": 1, "file_name": name, "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **annotation}],
    }
    return json.dumps(content)


def coco_zip(path: Path, **files: str) -> Path:
    """Write annotation files, and an image for each letter of `abc`."""
    images = {f"images/{n}.png": encoded(SIZE, "x.png", seed) for seed, n in enumerate("abc")}
    annotations = {f"annotations/{name}.json": text for name, text in files.items()}
    return write_zip(path, {**annotations, **images})


def test_files_without_the_usual_prefix_are_read_beside_those_with_it(tmp_path: Path) -> None:
    path = coco_zip(
        tmp_path / "e.zip",
        instances_train=coco("a.png", segmentation=BOX),
        val=coco("b.png", segmentation=BOX),
        person_keypoints_train=coco("a.png", segmentation=BOX),
    )
    assert masks_of(convert(path, tmp_path)).keys() == {"train/a", "val/b"}
    report = (tmp_path / "label-report").read_text()
    assert "Files that describe the same images again (left out): 1" in report


@pytest.mark.parametrize(
    ("text", "lacking"),
    [("", "no 'annotations' and no 'categories' and no 'images'"), (None, "no 'annotations'")],
)
def test_a_subset_whose_file_is_cut_short_is_not_left_out(
    text: str | None, lacking: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = coco("b.png", segmentation=BOX)
    cut = whole[: whole.index('"annotations"')] if text is None else text
    train = coco("a.png", segmentation=BOX)
    path = coco_zip(tmp_path / "e.zip", instances_train=train, instances_val=cut)
    error = failure(capfd, path, tmp_path)
    assert f"annotations/instances_val.json: {lacking}, expected a complete" in error


def test_skeletons_of_coco_keypoints_are_counted_and_not_painted(tmp_path: Path) -> None:
    box = {"segmentation": [], "bbox": [1, 1, 9, 9]}
    path = coco_zip(
        tmp_path / "e.zip",
        instances_a=coco("a.png", segmentation=BOX),
        instances_b=coco("b.png", **box, keypoints=[3, 3, 2], num_keypoints=1),
        instances_c=coco("c.png", **box),
    )
    found = masks_of(convert(path, tmp_path))
    assert {name: bool(mask.any()) for name, mask in found.items()} == {
        "a/a": True,
        "b/b": False,
        "c/c": True,
    }
    assert (
        "Skeleton annotations (no area: not painted): 1" in (tmp_path / "label-report").read_text()
    )


def test_a_broken_annotation_is_told_with_its_image_label_and_box(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = {"segmentation": [[1, 2, 3]], "bbox": [4, 7, 9, 9]}
    path = coco_zip(tmp_path / "e.zip", instances_train=coco("a.png", **broken))
    error = failure(capfd, path, tmp_path)
    assert "1 problem: a.png, shape 1 ('car' at x 4, y 7): an odd count of coordinates" in error


def overlapping_boxes() -> Task:
    images = {name: (20, 24) for name in ("a.png", "b.png")}
    labels = ("road", "car", "traffic light")
    boxes = [Drawn("box", label, [n, n, n + 9, n + 8]) for n, label in enumerate(labels)]
    return Task(images, {"a.png": boxes, "b.png": boxes[::-1]})


def test_annotations_of_coco_find_their_images_in_any_order(tmp_path: Path) -> None:
    task = overlapping_boxes()
    path = coco_export(task, tmp_path / "e.zip")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = "annotations/instances_default.json"
    content = json.loads(files[name])
    # The annotations of both images alternate, stand before the images, and one belongs nowhere.
    lists = [[a for a in content["annotations"] if a["image_id"] == i] for i in (1, 2)]
    stray = {**lists[0][0], "image_id": 77}
    mixed = [entry for pair in zip(*lists, strict=True) for entry in pair]
    shuffled = {"annotations": [stray, *mixed], "categories": content["categories"]}
    shuffled["images"] = content["images"]
    files[name] = b"\xef\xbb\xbf" + json.dumps(shuffled).encode()
    dataset = convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    for name, mask in masks_of(dataset).items():
        assert (mask == painted(task, f"{name}.png")).all()
        assert len(np.unique(mask)) == 4
    report = (tmp_path / "label-report").read_text()
    assert "Annotations of images that are not listed (left out): 1" in report


def test_points_of_datumaro_skeletons_are_no_classes_and_their_names_may_repeat(
    tmp_path: Path,
) -> None:
    task = overlapping_boxes()
    path = datumaro_export(task, tmp_path / "e.zip")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(files["annotations/default.json"])
    # Two skeletons in front of the labels, with CVAT's own names of points: positions move by 4.
    names = [("man", ""), ("1", "man"), ("dog", ""), ("1", "dog")]
    skeletons = [{"name": name, "parent": parent} for name, parent in names]
    content["categories"]["label"]["labels"][:0] = skeletons
    for item in content["items"]:
        for annotation in item["annotations"]:
            annotation["label_id"] += 4
    files["annotations/default.json"] = json.dumps(content).encode()
    dataset = convert(write_zip(tmp_path / "e.zip", files), tmp_path)
    assert dataset.label_map.names == ("background", "car", "road", "traffic light")
    for name, mask in masks_of(dataset).items():
        assert (mask == painted(task, f"{name}.png")).all()


def test_boxes_of_datumaro_keep_their_group(tmp_path: Path) -> None:
    task = overlapping_boxes()
    for shape in task.shapes["a.png"]:
        shape.group = 3
    convert(datumaro_export(task, tmp_path / "e.zip"), tmp_path)
    assert "group 3: car, road, traffic light" in (tmp_path / "label-report").read_text()


def changed_coco(task: Task, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    with zipfile.ZipFile(coco_export(task, path)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = "annotations/instances_default.json"
    content = json.loads(files[name])
    change(content)
    return write_zip(path, {**files, name: json.dumps(content)})


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("images", "id 1 twice (a.b c.jpg, deep/er/b.png), so their labels cannot be assigned"),
        ("categories", "categories: id 1 for 'car' and 'road', expected one id per category"),
    ],
)
def test_coco_files_joined_without_new_numbers_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], items: str, said: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        content[items][1]["id"] = content[items][0]["id"]

    error = failure(capfd, changed_coco(plain_task(), tmp_path / "e.zip", change), tmp_path)
    assert said in error


def test_coco_ids_are_the_same_as_texts_and_as_fractions(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["id"] = str(image["id"])
        for annotation in content["annotations"]:
            annotation["category_id"] = float(annotation["category_id"])

    task = plain_task()
    found = masks_of(convert(changed_coco(task, tmp_path / "e.zip", change), tmp_path))
    for name in task.images:
        assert (found[name.rpartition(".")[0]] == painted(task, name)).all()


def test_annotations_of_other_images_are_told_where_nothing_is_labelled(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["image_id"] += 100

    error = failure(capfd, changed_coco(plain_task(), tmp_path / "e.zip", change), tmp_path)
    assert "no pixel of any label" in error
    assert "annotations of images that are not listed (left out): 5" in error


def test_coco_of_windows_tools_and_of_fiftyone_is_read(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["file_name"] = image["file_name"].replace("/", "\\")

    task = plain_task()
    with zipfile.ZipFile(changed_coco(task, tmp_path / "e.zip", change)) as archive:
        labels = archive.read("annotations/instances_default.json")
    files = {"labels.json": labels, **image_files(task, "data/")}
    found = masks_of(convert(write_zip(tmp_path / "e.zip", files), tmp_path))
    for name in task.images:
        assert (found[name.rpartition(".")[0]] == painted(task, name)).all()
