"""Names of samples, odd ones too, and the groups that a split keeps together."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.components.convert_labels.label_builders import (
    BOX,
    Task,
    coco_export,
    cvat_xml,
    datumaro_export,
    image_files,
    images_export,
    many_images,
    mask_export,
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
    assert "8 problems: drive_0_0000: no match of group_pattern '^seq'" in error
    error = failure(capfd, export, tmp_path / "c", "--group-pattern", "(")
    assert "parameter group_pattern: '(' (missing ), unterminated subpattern" in error
