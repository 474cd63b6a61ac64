"""Names of samples, odd ones too, and the groups that a split keeps together."""

import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.components.convert_labels.label_builders import (
    BOX,
    Drawn,
    Task,
    camvid_export,
    coco_export,
    cvat_xml,
    datumaro_export,
    encoded,
    image_files,
    images_export,
    many_images,
    mask_export,
    painted,
    png,
    write_files,
    write_zip,
)
from tests.components.convert_labels.step_runs import convert, failure, masks_of


@pytest.mark.parametrize("export", [images_export, mask_export, coco_export, datumaro_export])
def test_odd_file_names_survive_the_way_to_the_split(
    export: Callable[[Task, Path], Path], tmp_path: Path
) -> None:
    stems = ["größe 1.2.3", "a%20b#c&d", "x.jpg", "..hidden", "-flag", "'quoted\"", "日本/語"]
    task = Task({f"{stem}.png": (24, 32) for stem in stems})
    task.shapes = {name: [BOX] for name in task.images}
    dataset = convert(export(task, tmp_path / "e.zip"), tmp_path)
    assert sorted(masks_of(dataset)) == sorted(stems)
    (name,) = dataset.shard_list.files
    with tarfile.open(dataset.folder / name) as shard:
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
    assert "Polyline annotations (no area: not painted): 3, in " in report


def test_duplicate_names_across_tasks_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"x.png": (20, 20)}, {"x.png": [BOX]})
    xml = cvat_xml(task).replace('name="x.png"', 'name="x.png" task_id="1"')
    image = xml[xml.index("<image") : xml.index("</annotations>")]
    xml = xml.replace(image, image + image.replace('task_id="1"', 'task_id="2"'))
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)})
    error = failure(capfd, export, tmp_path)
    assert "x.png (image id 0): the name twice, expected unique image names in a subset" in error


@pytest.mark.parametrize("export", [images_export, coco_export, datumaro_export])
def test_names_that_differ_in_the_extension_alone_are_both_kept(
    export: Callable[[Task, Path], Path], tmp_path: Path
) -> None:
    task = Task({"a.jpg": (20, 30), "a.png": (24, 32)})
    task.shapes = {"a.jpg": [BOX], "a.png": [Drawn("box", "road", [2, 2, 20, 9])]}
    dataset = convert(export(task, tmp_path / "e.zip"), tmp_path)
    found = masks_of(dataset)
    assert list(found) == ["a", "a.png"]
    for sample, name in zip(dataset.samples, task.images, strict=True):
        assert dataset.image_content(sample) == image_files(task, "")[name]
        assert (found[sample.id] > 0).sum() == (painted(task, name) > 0).sum()


def test_formats_that_cannot_tell_such_names_apart_say_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"a.jpg": (20, 30), "a.png": (20, 30)}, {"a.jpg": [BOX]})
    error = failure(capfd, mask_export(task, tmp_path / "e.zip"), tmp_path)
    assert "a: 2 images: JPEGImages/a.jpg, JPEGImages/a.png, expected one image a name" in error
    assert "rename one, or export as CVAT for images 1.1" in error


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize(
    "export", [images_export, mask_export, camvid_export, coco_export, datumaro_export]
)
def test_accents_may_be_composed_in_the_labels_and_apart_in_the_zip(
    export: Callable[[Task, Path], Path], written: str, tmp_path: Path
) -> None:
    names = [unicodedata.normalize(written, name) for name in ("über.png", "straße é/ü.png")]
    task = Task({name: (20, 30) for name in names}, {name: [BOX] for name in names})
    other = "NFD" if written == "NFC" else "NFC"
    with zipfile.ZipFile(export(task, tmp_path / "e.zip")) as archive:
        files = {unicodedata.normalize(other, n): archive.read(n) for n in archive.namelist()}
    assert not any(name in file for name in names for file in files)
    dataset = convert(write_zip(tmp_path / "f.zip", files), tmp_path)
    assert len(dataset.samples) == 2
    assert all(mask.any() for mask in masks_of(dataset).values())


def test_an_unlabelled_image_may_be_called_as_if_it_had_two_extensions(tmp_path: Path) -> None:
    task = Task({"scan.png.jpg": (20, 30), "b.png": (20, 30)}, {"b.png": [BOX]})
    found = masks_of(convert(mask_export(task, tmp_path / "e.zip"), tmp_path))
    assert set(found) == {"scan.png", "b"}
    assert not found["scan.png"].any()


def test_one_image_is_not_two_samples_of_different_subsets(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"x.png": (20, 20)}, {"x.png": [BOX]})
    xml = cvat_xml(task).replace('name="x.png"', 'name="x.png" subset="train"')
    image = xml[xml.index("<image") : xml.index("</annotations>")]
    xml = xml.replace(image, image + image.replace("train", "val"))
    images = write_zip(tmp_path / "images.zip", image_files(task))
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml})
    error = failure(capfd, export, tmp_path, "--images", str(images))
    assert "1 problem: val/x.png (image id 0): images/x.png, which is the image of train/x" in error
    assert "put the images of each subset into a folder of its name" in error


def test_tasks_of_a_project_are_the_groups(tmp_path: Path) -> None:
    task = many_images(4)
    xml = cvat_xml(task)
    for number in range(4):
        xml = xml.replace(f'id="{number}"', f'id="{number}" task_id="{7 + number // 2}"')
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)})
    assert [sample.group for sample in convert(export, tmp_path).samples] == ["7", "7", "8", "8"]


def test_groups_have_the_names_of_their_tasks(tmp_path: Path) -> None:
    task = many_images(4)
    xml = cvat_xml(task)
    for number in range(4):
        old, new = f'<image id="{number}"', f'<image id="{number}" task_id="{7 + number // 2}"'
        xml = xml.replace(old, new)
    tasks = "".join(f"<task><id>{n}</id><name>drive</name></task>" for n in (7, 8))
    xml = xml.replace("<meta>", f"<meta><project><tasks>{tasks}</tasks></project>")
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": xml, **image_files(task)})
    groups = [sample.group for sample in convert(export, tmp_path).samples]
    assert groups == ["drive (task 7)"] * 2 + ["drive (task 8)"] * 2


def test_a_name_in_several_lists_of_a_mask_export_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {
        "labelmap.txt": "background:0,0,0::\ncar:1,2,3::\n",
        "SegmentationClass/a.png": png(np.ones((24, 32, 3), np.uint8)),
        "JPEGImages/a.png": encoded((24, 32), "a.png"),
        **{f"ImageSets/Segmentation/{subset}.txt": "a\n" for subset in ("train", "val")},
    }
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "names in several lists: 'a' (train and val)" in error
    assert "export as CVAT for images 1.1, or task by task" in error


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE"])
def test_jpegs_of_browsers_are_images(name: str, tmp_path: Path) -> None:
    task = Task({name: (24, 32)}, {name: [BOX]})
    files = {"annotations.xml": cvat_xml(task), f"images/{name}": encoded((24, 32), "a.jpg")}
    assert convert(write_zip(tmp_path / "e.zip", files), tmp_path).samples[0].id == "a"


def test_an_image_of_a_kind_that_is_not_read_is_not_called_absent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"a.gif": (24, 32)}, {"a.gif": [BOX]})
    files = {"annotations.xml": cvat_xml(task), "images/a.gif": b"GIF89a"}
    error = failure(capfd, write_zip(tmp_path / "e.zip", files), tmp_path)
    assert "images/a.gif: a '.gif' file, expected JPEG, PNG, WebP, BMP or TIFF; convert" in error


def test_groups_come_from_a_pattern_in_the_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export = images_export(many_images(8), tmp_path / "e.zip")
    dataset = convert(export, tmp_path, "--group-pattern", r"^(drive_\d+)_")
    assert {sample.group for sample in dataset.samples} == {f"drive_{n}" for n in range(4)}
    error = failure(capfd, export, tmp_path / "b", "--group-pattern", r"^seq")
    assert "1 problem: --group-pattern: no match, or an empty one, of '^seq' in 8" in error
    error = failure(capfd, export, tmp_path / "d", "--group-pattern", "(x)?")
    assert "of '(x)?' in 8 image names (drive_0_0000, " in error
    error = failure(capfd, export, tmp_path / "c", "--group-pattern", "(")
    assert "--group-pattern: '(' (missing ), unterminated subpattern" in error


def test_a_file_uri_may_have_its_spaces_written_out(tmp_path: Path) -> None:
    images_export(many_images(1), tmp_path / "my task.zip")
    assert len(convert((tmp_path / "my task.zip").as_uri(), tmp_path)) == 1


def test_an_image_whose_name_differs_in_case_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"Scan_1.png": (20, 20)}, {"Scan_1.png": [BOX]})
    images = {"images/scan_1.PNG": image_files(task)["images/Scan_1.png"]}
    export = write_zip(tmp_path / "e.zip", {"annotations.xml": cvat_xml(task), **images})
    error = failure(capfd, export, tmp_path)
    assert "but images/scan_1.PNG, which differs in case" in error
    assert "rename one of them" in error


def two_cameras(folder: Path, same: bool) -> tuple[Path, Path]:
    """An export of 0001.png, and a folder of two folders that both have an image of this name."""
    task = Task({"0001.png": (20, 20)}, {"0001.png": [BOX]})
    export = write_zip(folder / "e.zip", {"annotations.xml": cvat_xml(task)})
    images = {
        f"cam{seed}/0001.png": encoded((20, 20), "0001.png", 7 if same else seed) for seed in (1, 2)
    }
    return export, write_files(folder / "images", images)


def test_images_of_one_name_in_two_folders_are_not_chosen_from(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export, images = two_cameras(tmp_path, same=False)
    error = failure(capfd, export, tmp_path, "--images", str(images))
    assert "2 images: cam1/0001.png, cam2/0001.png, expected one" in error
    assert "give the folder of these with --images (.../cam1)" in error
    dataset = convert(export, tmp_path, "--images", str(images / "cam2"))
    assert dataset.image_content(dataset.samples[0]) == (images / "cam2/0001.png").read_bytes()


def test_one_image_in_two_folders_is_taken(tmp_path: Path) -> None:
    export, images = two_cameras(tmp_path, same=True)
    assert len(convert(export, tmp_path, "--images", str(images))) == 1


def test_images_that_differ_in_their_extension_are_groups_of_their_own(tmp_path: Path) -> None:
    images = {"a.jpg": (20, 20), "a.png": (20, 20)}
    task = Task(images, {name: [BOX] for name in images})
    dataset = convert(images_export(task, tmp_path / "e.zip"), tmp_path)
    assert [(s.id, s.group) for s in dataset.samples] == [("a", "a"), ("a.png", "a.png")]


def test_an_export_in_folders_within_folders_is_found(tmp_path: Path) -> None:
    task = Task({"a.png": (20, 20)}, {"a.png": [BOX]})
    files = {"annotations.xml": cvat_xml(task), **image_files(task)}
    wrapped = {f"my export/again/{name}": content for name, content in files.items()}
    assert len(convert(write_zip(tmp_path / "e.zip", wrapped), tmp_path)) == 1
