"""Video exports: which frame of which task a shape is on, and which image is that frame."""

import itertools
import tracemalloc
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from components.convert_labels.formats import cvat_images, cvat_video
from components.convert_labels.source_listing import open_source
from tests.components.convert_labels.label_builders import encoded, write_files, write_zip
from tests.components.convert_labels.step_runs import convert, failure, masks_of

SIZE = (24, 32)
LABELS = "".join(
    f"<label><name>{name}</name><color>{colour}</color></label>"
    for name, colour in (("car", "#00008e"), ("road", "#804080"))
)
BOXES = {"car": (1, 1, 5, 5), "road": (10, 10, 20, 20)}


@dataclass
class VideoTask:
    """A task of a project, as CVAT tells of it; `boxes` are (frame, label)."""

    id: str = ""
    subset: str = ""
    boxes: list[tuple[int, str]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = SIZE

    def meta(self) -> str:
        facts = {"id": self.id or "7", "mode": "interpolation", "subset": self.subset, **self.facts}
        text = "".join(f"<{name}>{value}</{name}>" for name, value in facts.items())
        if self.size:
            height, width = self.size
            original = f"<width>{width}</width><height>{height}</height>"
            text += f"<original_size>{original}</original_size>"
        return text

    def tracks(self) -> str:
        named = f'task_id="{self.id}" subset="{self.subset or "default"}"' if self.id else ""
        return "".join(
            f'<track id="{n}" label="{label}" source="manual" {named}>{box(frame, label)}</track>'
            for n, (frame, label) in enumerate(self.boxes)
        )


def box(frame: int, label: str) -> str:
    names = zip(("xtl", "ytl", "xbr", "ybr"), BOXES[label], strict=True)
    corners = " ".join(f'{name}="{value:.2f}"' for name, value in names)
    return f'<box frame="{frame}" keyframe="1" outside="0" {corners} z_order="0"></box>'


def task_export(path: Path, task: VideoTask, images: list[str]) -> Path:
    meta = f"<task>{task.meta()}<labels>{LABELS}</labels></task>"
    return export(path, meta, task.tracks(), images)


def project_export(path: Path, tasks: list[VideoTask], images: list[str]) -> Path:
    inner = "".join(f"<task>{task.meta()}</task>" for task in tasks)
    meta = f"<project><id>1</id><tasks>{inner}</tasks><labels>{LABELS}</labels></project>"
    return export(path, meta, "".join(task.tracks() for task in tasks), images)


def export(path: Path, meta: str, tracks: str, images: list[str]) -> Path:
    xml = f"<annotations><version>1.1</version><meta>{meta}</meta>{tracks}</annotations>"
    files: dict[str, bytes | str] = {"annotations.xml": xml}
    files |= {f"images/{name}": encoded(SIZE, name, n) for n, name in enumerate(images)}
    return write_zip(path, files)


def labels_of(dataset) -> dict[str, list[str]]:
    names = dataset.label_map.names
    return {
        name: [names[index] for index in np.unique(mask) if index]
        for name, mask in masks_of(dataset).items()
    }


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


def test_pictures_of_a_job_of_chosen_frames_are_not_taken_by_position(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = {"mode": "annotation", "size": "2", "start_frame": "0", "stop_frame": "9"}
    path = task_export(tmp_path / "e.zip", VideoTask(boxes=[(0, "road")], facts=facts, size=None),
                       ["a.png", "b.png"])  # fmt: skip
    error = failure(capfd, path, tmp_path)
    assert "2 images of frames 0..9, some left out" in error


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
        (["a.png"], {"size": "1"}, "frame 1 labelled, but 1 images"),
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
