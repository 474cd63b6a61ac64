"""Masks that could come out wrong without a word: exact, or an error or a finding."""

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.components.convert_labels.label_builders import (
    BOX,
    Drawn,
    Task,
    cvat_xml,
    encoded,
    image_files,
    images_export,
    png,
    write_files,
)
from tests.components.convert_labels.step_runs import convert, failure, masks_of

SIZE = (20, 30)
LISTED = {"classes.txt": "background\nroad\ncar\n"}


def values(*bands: float, kind: Any = np.uint8) -> NDArray[Any]:
    """A mask of 0 with five rows of each value."""
    mask = np.zeros(SIZE, kind)
    for row, value in enumerate(bands):
        mask[5 * row + 2 : 5 * row + 7] = value
    return mask


def saved(pixels: NDArray[Any], kind: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(buffer, kind)
    return buffer.getvalue()


def by_opencv(pixels: NDArray[Any]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def of_palette(indices: NDArray[np.uint8], *colours: tuple[int, int, int]) -> bytes:
    picture = Image.fromarray(indices)
    picture.putpalette([value for colour in colours for value in colour])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def export(folder: Path, masks: dict[str, bytes], listed: dict[str, str] | None = None) -> Path:
    """Images and masks; the masks' names have an extension."""
    files: dict[str, bytes | str] = dict(listed or {})
    for seed, (name, mask) in enumerate(masks.items()):
        files[f"images/{name.rpartition('.')[0]}.png"] = encoded(SIZE, "x.png", seed)
        files[f"masks/{name}"] = mask
    return write_files(folder / "export", files)


def findings(folder: Path) -> dict[str, str]:
    lines = (folder / "dataset/findings.jsonl").read_text().splitlines()
    return {found["kind"]: found["text"] for found in map(json.loads, lines)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", png(values(1, 2))),
        ("a.png", by_opencv(values(1, 2, kind=np.uint16))),
        ("a.tif", saved(values(1, 2, kind=np.uint16), "TIFF")),
        ("a.tif", saved(values(1, 2, kind=np.int32), "TIFF")),
        ("a.tif", saved(values(1, 2, kind=np.float32), "TIFF")),
        ("a.png", by_opencv(cv2.merge([values(1, 2, kind=np.uint16)] * 3))),
        ("a.png", saved(np.dstack([values(1, 2)] * 3), "PNG")),
    ],
)
def test_indices_are_read_exactly_at_any_depth(name: str, content: bytes, tmp_path: Path) -> None:
    dataset = convert(export(tmp_path, {name: content}, LISTED), tmp_path)
    assert np.array_equal(masks_of(dataset)["a"], values(1, 2))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", by_opencv(values(1, 600, kind=np.uint16)), "class index 600 at (y=7, x=0) in a "),
        (
            "a.png",
            by_opencv(values(257, kind=np.uint16)),
            "class index 257 at (y=2, x=0) in a mask",
        ),
        ("a.tif", saved(values(1, 70_000, kind=np.int32), "TIFF"), "class index 70000 at"),
        ("a.tif", saved(values(-1, kind=np.int32), "TIFF"), "class index -1 at (y=2, x=0)"),
        ("a.tif", saved(values(0.5, kind=np.float32), "TIFF"), "value 0.5 at (y=2, x=0) in a mask"),
        ("a.png", by_opencv(cv2.merge([values(300, kind=np.uint16)] * 3)), "16 bits a channel"),
        ("a.jpg", saved(values(1, 2), "JPEG"), "a JPEG, which is lossy"),
    ],
)
def test_indices_that_no_class_has_are_refused_at_any_depth(
    name: str, content: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert message in failure(capfd, export(tmp_path, {name: content}, LISTED), tmp_path)


@pytest.mark.parametrize("high", [1, 255, 65535])
def test_binary_masks_of_16_bits(high: int, tmp_path: Path) -> None:
    content = by_opencv(values(high, kind=np.uint16))
    dataset = convert(export(tmp_path, {"a.png": content}), tmp_path)
    assert np.array_equal(masks_of(dataset)["a"], values(1))


def test_colour_masks_of_16_bits_are_exact(tmp_path: Path) -> None:
    colour = np.zeros((*SIZE, 3), np.uint16)
    colour[values(1) == 1] = np.array([128, 64, 0]) * 257
    listed = {"label_colors.txt": "0 64 128 road\n"}
    dataset = convert(export(tmp_path, {"a.png": by_opencv(colour)}, listed), tmp_path)
    assert np.array_equal(masks_of(dataset)["a"], values(1))


def test_black_and_white_palettes_are_read_by_what_they_show(tmp_path: Path) -> None:
    black, white = (0, 0, 0), (255, 255, 255)
    masks = {
        "a.png": of_palette(values(1), black, white),
        "b.png": of_palette(1 - values(1), white, black),
    }
    found = masks_of(convert(export(tmp_path, masks), tmp_path))
    assert np.array_equal(found["a"], values(1))
    assert np.array_equal(found["b"], values(1))


def test_palettes_that_differ_or_are_reordered_are_found(tmp_path: Path) -> None:
    black, red, green = (0, 0, 0), (128, 0, 0), (0, 128, 0)
    masks = {
        "a.png": of_palette(values(1), black, red),
        "b.png": of_palette(values(1), black, green),
        "c.png": of_palette(values(1), red, black),
    }
    convert(export(tmp_path, masks, LISTED), tmp_path)
    found = findings(tmp_path)
    assert "index 0 is (128, 0, 0) here and (0, 0, 0) in a" in found["palettes differ"]
    assert "masks/c.png: 0 is (128, 0, 0), 1 is (0, 0, 0)" in found["palette order"]


def test_255_beside_a_class_list_is_explained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    masks = {"a.png": png(values(255)), "b.png": png(values(255))}
    error = failure(capfd, export(tmp_path, masks, LISTED), tmp_path)
    assert "with a class list, 255 is 'no ground truth'" in error
    one = export(tmp_path / "one", {**masks, "c.png": png(values(1))}, LISTED)
    convert(one, tmp_path / "one")
    assert "100 pixels of 255" not in findings(tmp_path / "one")["255 alone"]
    assert (
        "150 pixels of 255, which is 'no ground truth'" in findings(tmp_path / "one")["255 alone"]
    )


def coco(folder: Path, size: tuple[int, int], *annotations: dict[str, Any]) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": size[0], "width": size[1]}],
        "categories": [{"id": 1, "name": "road"}],
        "annotations": [{"image_id": 1, "category_id": 1, **entry} for entry in annotations],
    }
    files = {"result.json": json.dumps(content), "images/a.jpg": encoded((20, 30), "a.jpg")}
    return write_files(folder / "export", files)


def test_shapes_outside_their_image_are_found(tmp_path: Path) -> None:
    inside = Drawn("polygon", "road", [1, 1, 29.5, 1, 30.4, 20.4])
    half = Drawn("polygon", "car", [20, 5, 45, 5, 45, 15, 20, 15])
    task = Task({"a.png": (20, 30), "b.png": (20, 30)}, {"a.png": [inside], "b.png": [half]})
    convert(images_export(task, tmp_path / "e.zip"), tmp_path)
    lines = (tmp_path / "dataset/findings.jsonl").read_text()
    assert lines.count("outside the image") == 2  # kind and text of one finding
    assert "reaches 15 pixels outside the image's 30 x 20 (width x height)" in lines


def test_run_lengths_that_miss_their_bbox_are_found(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:8, 10:26] = 1
    flat = np.concatenate([[0], mask.ravel(), [1 - mask.ravel()[-1]]])
    counts = np.diff(np.flatnonzero(np.diff(flat)), prepend=0).tolist()
    by_rows = {"segmentation": {"size": [20, 30], "counts": counts}, "bbox": [10, 4, 16, 4]}
    convert(coco(tmp_path, (20, 30), by_rows), tmp_path)
    assert "its bbox says x 10..25, y 4..7" in findings(tmp_path)["run lengths not in their bbox"]


@pytest.mark.parametrize(
    ("segmentation", "is_told"),
    [([], True), ([[2, 2, 12, 2, 12, 9, 2, 9]], True), ([[2, 2, 12, 2, 12, 9, 3, 9]], False)],
)
def test_an_export_of_boxes_alone_is_told_of(
    segmentation: list[Any], is_told: bool, tmp_path: Path
) -> None:
    boxes = [{"segmentation": segmentation, "bbox": [2, 2, 10, 7]}] * 2
    convert(coco(tmp_path, (20, 30), *boxes), tmp_path)
    report = (tmp_path / "label-report").read_text()
    assert ("Every shape is a box (2 in all)" in report) is is_told


def test_sizes_of_a_turned_photograph_that_are_swapped_get_the_right_remedy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Upright it is 20 wide and 30 high, and so are the shapes; the sizes are those of the file.
    source = coco(tmp_path, (20, 30), {"segmentation": [[2, 2, 12, 2, 12, 28, 2, 28]]})
    picture = Image.open(source / "images/a.jpg")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(source / "images/a.jpg", exif=exif)
    error = failure(capfd, source, tmp_path)
    assert "(EXIF 6) and its shapes fit the upright picture: swap width and height" in error


def test_one_cause_is_said_once_with_its_count(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [f"deep/{number}.png" for number in range(24)]
    task = Task({name: (20, 30) for name in names}, {name: [BOX] for name in names})
    files = {"annotations.xml": cvat_xml(task), **image_files(task, "else/where/")}
    for flags in ([], ["--bad-samples", "skip"]):
        error = failure(capfd, write_files(tmp_path / "e", files), tmp_path, *flags)
        assert error.count("no image in") == 1
        assert "24 problems: deep/0.png (image id 0): no image in" in error
        assert "else/where/deep/0.png, in another folder" in error
        assert "(24 times: also deep/1.png (image id 1), deep/2.png" in error
    assert "24 samples" in (tmp_path / "label-report.failed.html").read_text()


def test_images_in_a_folder_that_the_names_begin_with(tmp_path: Path) -> None:
    task = Task({"val/a.png": (20, 30)}, {"val/a.png": [BOX]})
    source = write_files(tmp_path / "e", {"annotations.xml": cvat_xml(task)})
    for place in ("plain/", "wrapped/photos/", "wrapped2/photos/images/"):
        write_files(tmp_path, image_files(task, place))
        folder = tmp_path / place.partition("/")[0]
        dataset = convert(source, tmp_path / "out" / folder.name, "--images", str(folder))
        assert [sample.id for sample in dataset.samples] == ["val/a"]
