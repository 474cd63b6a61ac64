"""COCO and Datumaro: which of several JSON files are read, and none is left out unsaid."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.components.convert_labels.label_builders import encoded, write_zip
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
    """Writes annotation files, and an image for each letter of `abc`."""
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
