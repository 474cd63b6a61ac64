"""Video exports: which frame a shape is on, and which image is that frame."""

import itertools
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from components.convert_labels.formats import cvat_images, cvat_video
from components.convert_labels.source.listing import open_source
from tests.components.convert_labels.label_builders import encoded, write_files, write_zip
from tests.components.convert_labels.step_runs import convert, failure
from tests.components.convert_labels.video_builders import (
    LABELS,
    SIZE,
    VideoTask,
    box,
    export,
    labels_of,
    project_export,
    task_export,
)


def test_images_elsewhere_are_frames_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    task = VideoTask(boxes=[(1, "road")], facts={"size": "3", "stop_frame": "2"})
    path = task_export(tmp_path / "e.zip", task, [])
    for folder, first in (("from_0", 0), ("from_1", 1)):
        images = {f"frame_{first + n:06d}.png": encoded(SIZE, "x.png", n) for n in range(3)}
        write_files(tmp_path / folder, images)
    found = labels_of(convert(path, tmp_path, "--images", str(tmp_path / "from_0")))
    assert found == {"frame_000000": [], "frame_000001": ["road"], "frame_000002": []}
    error = failure(capfd, path, tmp_path / "out", "--images", str(tmp_path / "from_1"))
    assert "frames 1..3, expected 0..2, as in CVAT; number them from 0 on" in error


@pytest.mark.parametrize("in_project", [False, True])
def test_images_of_frames_that_a_film_with_a_step_does_not_have_are_refused(
    in_project: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = {"size": "4", "start_frame": "1", "stop_frame": "11", "frame_filter": "step=3"}
    task = VideoTask("5" * in_project, "train", [(4, "road")], facts)

    def write(numbers: list[int]) -> Path:
        names = [f"{'train/' * in_project}frame_{number:06d}.png" for number in numbers]
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zip"
        return project_export(path, [task], names) if in_project else task_export(path, task, names)

    found = labels_of(convert(write([1, 4, 7, 10]), tmp_path))
    assert [name for name, labels in found.items() if labels] == ["frame_000004"]
    # As another tool numbers the four images.
    error = failure(capfd, write([1, 2, 3, 4]), tmp_path / "out")
    assert "frames 1..4, frame 2 among them, expected 1, 4 and so on to 11, as in CVAT" in error
    assert "leave out the images of other frames" in error


def test_frames_that_a_track_skips_while_it_is_visible_are_told(tmp_path: Path) -> None:
    shapes = box(0, "road") + box(3, "road") + box(4, "road").replace('outside="0"', 'outside="1"')
    track = f'<track id="0" label="road">{shapes}{box(6, "road")}</track>'
    meta = f"<task>{VideoTask().meta()}<labels>{LABELS}</labels></task>"
    images = [f"frame_{number:06d}.png" for number in (0, 1, 3, 4, 5, 6)]
    convert(export(tmp_path / "e.zip", meta, track, images), tmp_path)
    report = (tmp_path / "label-report").read_text()
    assert "missing in the XML (not painted): 1, in frame 1" in report


@pytest.mark.parametrize("name", ["start_frame", "frame_filter", "stop_frame"])
def test_facts_that_are_no_numbers_are_refused(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = {"stop_frame": "1", "size": "2", name: "step=abc"}
    tasks = VideoTask(boxes=[(0, "road")], facts=facts)
    images = ["frame_000000.png", "frame_000001.png"]
    error = failure(capfd, task_export(tmp_path / "e.zip", tasks, images), tmp_path)
    assert f"{name} 'step=abc'" in error


def test_frames_of_another_size_than_a_jobs_film_are_problems(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    size = "<original_size><width>99</width><height>24</height></original_size>"
    meta = f"<job><id>3</id><labels>{LABELS}</labels></job>{size}"
    tracks = VideoTask(boxes=[(0, "road")]).tracks()
    path = export(tmp_path / "e.zip", meta, tracks, ["frame_000000.png"])
    assert "annotations for 99 x 24, expected the image's 32 x 24" in failure(capfd, path, tmp_path)


def test_frames_of_another_size_than_the_film_are_problems(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = VideoTask(boxes=[(0, "car")], size=(240, 320))
    path = task_export(tmp_path / "e.zip", task, ["frame_000000.PNG"])
    error = failure(capfd, path, tmp_path)
    assert "annotations for 320 x 240, expected the image's 32 x 24" in error
    tasks = [VideoTask("5", "train", [(0, "road")]), VideoTask("6", "val", size=(240, 320))]
    images = ["train/frame_000000.PNG", "val/frame_000000.PNG"]
    error = failure(capfd, project_export(tmp_path / "p.zip", tasks, images), tmp_path)
    assert "1 problem: val/frame_000000: annotations for 320 x 240" in error


def test_a_film_is_read_in_memory_that_does_not_grow_with_its_frames(tmp_path: Path) -> None:
    peaks = []
    for frames in (500, 4000):
        task = VideoTask(boxes=[(0, "road")])
        shapes = "".join(box(frame, "road") for frame in range(frames))
        path = task_export(tmp_path / f"{frames}.zip", task, [])
        with zipfile.ZipFile(path) as archive:
            xml = archive.read("annotations.xml").decode()
        path = write_zip(path, {"annotations.xml": xml.replace(box(0, "road"), shapes)})
        files = open_source(path, path.name)
        tracemalloc.start()
        assert not cvat_images.recognises(files)
        items = cvat_video.read(files).items()
        count = sum(len(item.label.records) for item in items)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == frames
    growth = (peaks[1] - peaks[0]) / 3500
    # A shape held as an XML element or a dictionary takes over a thousand bytes.
    assert growth < 300, peaks


def test_shapes_keep_the_order_of_the_document(tmp_path: Path) -> None:
    orders = list(itertools.permutations(["car", "road"]))
    for number, order in enumerate(orders):
        track = "".join(
            f'<track id="{n}" label="{label}">{box(0, "road")}</track>'
            for n, label in enumerate(order)
        )
        meta = f"<task><labels>{LABELS}</labels></task>"
        path = export(tmp_path / f"{number}.zip", meta, track, ["frame_000000.PNG"])
        folder = tmp_path / str(number)
        assert labels_of(convert(path, folder)) == {"frame_000000": [order[-1]]}
