"""Video exports of projects: frames are told apart by task and subset, or refused."""

import zipfile
from pathlib import Path

import pytest

from tests.components.convert_labels.label_builders import write_zip
from tests.components.convert_labels.step_runs import convert, failure
from tests.components.convert_labels.video_builders import (
    VideoTask,
    labels_of,
    project_export,
)


def test_frames_of_a_project_are_told_apart_by_task_and_subset(tmp_path: Path) -> None:
    tasks = [
        VideoTask("5", "train", [(0, "road"), (1, "car")]),
        VideoTask("6", "val", [(0, "car")]),
        VideoTask("8", "", [(1, "road")]),
    ]
    folders = ("train", "val", "default")
    images = [f"{folder}/frame_{n:06d}.PNG" for folder in folders for n in (0, 1)]
    dataset = convert(project_export(tmp_path / "e.zip", tasks, images), tmp_path)
    assert labels_of(dataset) == {
        "train/frame_000000": ["road"],
        "train/frame_000001": ["car"],
        "val/frame_000000": ["car"],
        "val/frame_000001": [],
        "default/frame_000000": [],
        "default/frame_000001": ["road"],
    }
    with zipfile.ZipFile(tmp_path / "e.zip") as archive:
        for sample in dataset.samples:
            image = archive.read(f"images/{sample.id}.PNG")
            assert dataset.image_content(sample) == image
    assert {(sample.subset, sample.group) for sample in dataset.samples} == {
        ("train", "5"),
        ("val", "6"),
        ("default", "8"),
    }


def test_a_project_of_one_task_has_its_images_below_the_subset(tmp_path: Path) -> None:
    tasks = [VideoTask("5", "train", [(0, "road"), (0, "car")])]
    images = ["train/frame_000000.PNG", "train/frame_000001.PNG"]
    dataset = convert(project_export(tmp_path / "e.zip", tasks, images), tmp_path)
    assert labels_of(dataset) == {"frame_000000": ["car", "road"], "frame_000001": []}


def test_tasks_that_share_a_subset_and_start_anew_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = [VideoTask("5", "train", [(0, "road")]), VideoTask("6", "train", [(0, "car")])]
    images = ["train/frame_000000.PNG", "train/frame_000000_1.PNG"]
    error = failure(capfd, project_export(tmp_path / "e.zip", tasks, images), tmp_path)
    assert "tasks 5, 6 in subset 'train', whose frames cannot be told apart" in error
    assert "export the tasks one by one, or the project as CVAT for images 1.1" in error


def test_frames_of_tasks_that_share_a_subset_go_on_from_task_to_task(tmp_path: Path) -> None:
    # As CVAT numbers them: each task begins where start_frame + step * size of the one before ends.
    facts = {"size": "2", "start_frame": "1", "frame_filter": "step=3"}
    tasks = [
        VideoTask("6", boxes=[(1, "road")], facts=facts),
        VideoTask("5", boxes=[(7, "car")], facts={"size": "2"}),
    ]
    images = [f"default/frame_{number:06d}.PNG" for number in (1, 4, 7, 8)]
    dataset = convert(project_export(tmp_path / "e.zip", tasks, images), tmp_path)
    assert [(s.id, s.group) for s in dataset.samples] == [
        ("frame_000007", "5"),
        ("frame_000008", "5"),
        ("frame_000001", "6"),
        ("frame_000004", "6"),
    ]
    assert labels_of(dataset)["frame_000001"] == ["road"]
    assert labels_of(dataset)["frame_000007"] == ["car"]


def test_images_of_frames_that_no_task_of_a_shared_subset_has_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = [
        VideoTask(n, boxes=[(b, "road")], facts={"size": "2"}) for n, b in (("5", 1), ("6", 3))
    ]
    images = [f"default/frame_{number:06d}.PNG" for number in (1, 2, 3, 4)]
    error = failure(capfd, project_export(tmp_path / "e.zip", tasks, images), tmp_path)
    assert "frame 4 in subset 'default', which none of its tasks has" in error


def test_a_track_that_does_not_name_its_task_in_a_project_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = [VideoTask("5", "train", [(0, "road")]), VideoTask("6", "val")]
    path = project_export(tmp_path / "e.zip", tasks, ["train/frame_000000.PNG"])
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["annotations.xml"] = files["annotations.xml"].replace(b'task_id="5"', b"")
    error = failure(capfd, write_zip(path, files), tmp_path)
    assert "a track without task_id in a project" in error
