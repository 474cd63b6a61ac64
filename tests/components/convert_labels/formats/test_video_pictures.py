"""Video exports of pictures: which image is which frame goes by their order, or is refused."""

from pathlib import Path

import pytest

from tests.components.convert_labels.step_runs import convert, failure
from tests.components.convert_labels.video_builders import (
    VideoTask,
    labels_of,
    project_export,
    task_export,
)


def test_pictures_of_a_job_of_chosen_frames_are_not_taken_by_position(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = {"mode": "annotation", "size": "2", "start_frame": "0", "stop_frame": "9"}
    path = task_export(tmp_path / "e.zip", VideoTask(boxes=[(0, "road")], facts=facts, size=None),
                       ["a.png", "b.png"])  # fmt: skip
    error = failure(capfd, path, tmp_path)
    assert "2 images of frames 0..9, some left out" in error


def test_pictures_are_frames_by_their_position_whatever_their_names_count(tmp_path: Path) -> None:
    # As ffmpeg numbers them: frame 0 of the task is frame_000001.png.
    names = [f"frame_{number:06d}.png" for number in (1, 2, 3)]
    facts = {"mode": "annotation", "size": "3"}
    task = VideoTask(boxes=[(0, "road"), (2, "car")], facts=facts, size=None)
    dataset = convert(task_export(tmp_path / "e.zip", task, names), tmp_path)
    assert labels_of(dataset) == {
        "frame_000001": ["road"],
        "frame_000002": [],
        "frame_000003": ["car"],
    }
    report = (tmp_path / "label-report").read_text()
    assert "Frames matched to images by the order of their names: 3" in report


@pytest.mark.parametrize(
    ("names", "facts", "message"),
    [
        # CVAT leaves deleted frames out.
        (
            ["a.png", "c.png"],
            {"size": "3"},
            "2 images, whose frames go by position, expected all 3",
        ),
        (["a.png", "c.png"], {}, "2 images, whose frames go by position"),
        (["i_10.png", "i_2.png"], {"size": "2"}, "in no certain order (i_10.png or i_2.png first)"),
        (["a.png"], {"size": "1"}, "frame 1 labelled, but 1 image"),
        ([], {"size": "2", "mode": "annotation"}, "0 images, whose frames go by position"),
        (["frame_000001.png", "b/frame_1.png"], {}, "two images of frame 1: b/frame_1.png and"),
    ],
)
def test_frames_that_no_image_can_be_told_for_are_refused(
    names: list[str],
    facts: dict[str, str],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    task = VideoTask(boxes=[(1, "road")], facts=facts)
    assert message in failure(capfd, task_export(tmp_path / "e.zip", task, names), tmp_path)


PICTURES = {"mode": "annotation", "size": "2"}


def test_pictures_beside_films_of_one_subset_are_the_images_that_are_no_frames(
    tmp_path: Path,
) -> None:
    tasks = [
        VideoTask("5", boxes=[(1, "road")], facts={"size": "2"}),
        VideoTask("6", boxes=[(2, "car")], facts=PICTURES, size=None),
        VideoTask("7", boxes=[(4, "road")], facts={"size": "1"}),
    ]
    names = ["frame_000000.PNG", "frame_000001.PNG", "frame_000004.PNG", "b.png", "a.png"]
    images = [f"default/{name}" for name in names]
    dataset = convert(project_export(tmp_path / "e.zip", tasks, images), tmp_path)
    labelled = {"frame_000001": ["road"], "a": ["car"], "frame_000004": ["road"]}
    assert labels_of(dataset) == {"frame_000000": [], "b": [], **labelled}
    assert {(s.id, s.group) for s in dataset.samples if s.id in "ab"} == {("a", "6"), ("b", "6")}


def test_two_tasks_of_pictures_of_one_subset_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Even in folders: both tasks may have images of each.
    tasks = [VideoTask(n, boxes=[(1, "road")], facts=PICTURES, size=None) for n in ("5", "6")]
    images = [f"default/{name}.png" for name in ("x/a", "x/b", "y/a", "y/b")]
    error = failure(capfd, project_export(tmp_path / "e.zip", tasks, images), tmp_path)
    assert "tasks 5, 6 in subset 'default', whose frames cannot be told apart" in error
