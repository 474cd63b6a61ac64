import itertools

import numpy as np
import pytest
from builders import ROAD, STREET, draw_scene
from cvat_sdk import masks
from emulators.cvat_server import TOKEN, Frame, Job, Records, Task, cvat_server
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from components.convert_labels.__main__ import main as convert
from segmentor.cvat.address import CvatUri
from segmentor.cvat.pull import pull
from segmentor.cvat.push import push
from segmentor.cvat.server import CvatServer
from segmentor.dataset import Dataset
from segmentor.errors import CvatError
from segmentor.image_io import decode_image, encode_png
from segmentor.label_map import LabelMap
from segmentor.model import Prediction


class Rule:
    """A model that is a rule about pixels: (mask, confidence) of RGB uint8 (H, W, 3)."""

    digest = "sha256:0"

    def __init__(self, rule, label_map=ROAD):
        self.label_map = label_map
        self._rule = rule

    def predict(self, image):
        mask, confidence = self._rule(decode_image(image))
        foreground = np.where(mask == 1, confidence, 1 - confidence).astype(np.float32)
        count = len(self.label_map)
        probability = np.full((count, *mask.shape), 0.5, np.float32)
        np.put_along_axis(probability, mask[None].astype(int), confidence[None], axis=0)
        probability = foreground[None] if count == 2 else probability
        return Prediction(mask, self.label_map, lambda: probability, lambda: image)


def grey(pixels):
    """Take what is grey for road."""
    mask = (np.ptp(pixels.astype(int), axis=2) < 12).astype(np.uint8)
    return mask, np.where(mask, 0.9, 0.8).astype(np.float32)


ROADS = Rule(grey)


def road_of(content):
    return ROADS.predict(content).mask


def sent(records, task=12):
    """The masks that a task has, by frame."""
    found = {}
    for shape in records.tasks[task].shapes:
        bitmap = masks.decode_mask(shape["points"], image_width=96, image_height=64)
        found[shape["frame"]] = found.get(shape["frame"], False) | bitmap
    return found


def test_shapes_carry_what_was_predicted(session, records):
    server, uri = session("/tasks/12")
    outcomes = list(push(server, uri, ROADS, least_pixels=1, most_shapes=10_000))
    assert [frame.outcome for frame in outcomes] == ["sent"] * 4
    for frame in range(4):
        image, _ = draw_scene(frame)
        expected = road_of(records.tasks[12].frames[frame].content)
        np.testing.assert_array_equal(sent(records)[frame], expected.astype(bool))
        assert expected.any()
        assert image.shape == (64, 96, 3)
    assert {shape["source"] for shape in records.tasks[12].shapes} == {"auto"}
    assert {shape["score"] for shape in records.tasks[12].shapes} == {0.9}


def test_again_sends_nothing(session, records):
    server, uri = session("/tasks/12")
    list(push(server, uri, ROADS))
    before = list(records.tasks[12].shapes)
    records.requests.clear()
    assert {frame.outcome for frame in push(server, uri, ROADS)} == {"unchanged"}
    assert records.tasks[12].shapes == before
    assert not [path for method, path in records.requests if method == "PATCH"]


def test_an_interrupted_push_goes_on(session, records):
    server, uri = session("/tasks/12")
    list(itertools.islice(push(server, uri, ROADS), 2))
    outcomes = [frame.outcome for frame in push(server, uri, ROADS)]
    assert outcomes == ["unchanged", "unchanged", "sent", "sent"]
    assert len(sent(records)) == 4


def test_another_model_replaces_what_no_person_touched(session, records):
    server, uri = session("/tasks/12")
    list(push(server, uri, ROADS))

    def upside_down(pixels):
        mask, confidence = grey(pixels)
        return np.flipud(mask).copy(), confidence

    list(push(server, uri, Rule(upside_down), least_pixels=1, most_shapes=10_000))
    for frame in range(4):
        expected = np.flipud(road_of(records.tasks[12].frames[frame].content))
        np.testing.assert_array_equal(sent(records)[frame], expected.astype(bool))


@pytest.mark.parametrize("source", ["manual", "semi-auto", "file"])
def test_frames_that_a_person_labelled_are_left_alone(session, records, source):
    label = records.labels[0]["id"]
    mine = {"id": 1, "type": "rectangle", "frame": 1, "label_id": label, "points": [0, 0, 9, 9],
            "source": source}  # fmt: skip
    records.tasks[12].shapes.append(dict(mine))
    records.tasks[12].tags.append({"id": 2, "frame": 2, "label_id": label, "source": "manual"})
    server, uri = session("/tasks/12")
    outcomes = [frame.outcome for frame in push(server, uri, ROADS)]
    assert outcomes == ["sent", "labelled", "labelled", "sent"]
    assert records.tasks[12].shapes[0] == mine
    outcomes = [frame.outcome for frame in push(server, uri, ROADS, all_frames=True)]
    assert outcomes == ["unchanged", "sent", "sent", "unchanged"]
    assert records.tasks[12].shapes[0] == mine


def test_a_track_labels_the_frames_it_is_seen_in(session, records):
    label = records.labels[0]["id"]
    shapes = [{"frame": 1, "outside": False}, {"frame": 2, "outside": True}]
    records.tasks[12].tracks.append({"id": 1, "frame": 1, "label_id": label, "shapes": shapes})
    server, uri = session("/tasks/12")
    outcomes = [frame.outcome for frame in push(server, uri, ROADS)]
    assert outcomes == ["sent", "labelled", "labelled", "sent"]


def test_shapes_of_other_labels_stay(session, records):
    other = records.label("car")
    foreign = {"id": 1, "type": "mask", "frame": 0, "label_id": other, "source": "auto",
               "points": [0, 4, 0, 0, 1, 1]}  # fmt: skip
    records.tasks[12].shapes.append(dict(foreign))
    server, uri = session("/tasks/12")
    list(push(server, uri, ROADS))
    assert records.tasks[12].shapes[0] == foreign


def test_a_job_gets_its_own_frames(session, records):
    server, uri = session("/jobs/32")
    assert [frame.name for frame in push(server, uri, ROADS)] == [
        "scene_002.png",
        "scene_003.png",
    ]
    assert set(sent(records)) == {2, 3}


def test_deleted_frames_are_passed_over(session, records):
    records.tasks[12].deleted.append(1)
    server, uri = session("/tasks/12")
    assert [frame.index for frame in push(server, uri, ROADS)] == [0, 2, 3]


def test_an_image_that_cannot_be_read_keeps_no_other_waiting(session, records):
    records.tasks[12].frames[1].content = b"cut"
    server, uri = session("/tasks/12")
    outcomes = {frame.name: frame for frame in push(server, uri, ROADS)}
    assert outcomes["scene_001.png"].outcome == "unreadable"
    assert outcomes["scene_001.png"].reason.startswith("scene_001.png: ")
    assert set(sent(records)) == {0, 2, 3}


def test_labels_that_do_not_fit_are_said_before_anything_is_predicted(session, records):
    records.label("grass", "polygon")
    server, uri = session("/tasks/12")

    with pytest.raises(CvatError) as error:
        list(push(server, uri, Rule(grey, STREET)))
    message = str(error.value)
    assert ("GET", "/api/tasks/12/data") not in records.requests
    assert "'sky' is missing; 'grass' is a label for polygon shapes" in message
    assert not [path for method, path in records.requests if method == "PATCH"]


def test_a_project_is_refused(session):
    server, uri = session("/projects/7")
    with pytest.raises(CvatError, match="a project, expected a task or a job"):
        next(push(server, uri, ROADS))


@settings(max_examples=10)
@given(arrays(np.uint8, (2, 8, 11), elements=st.integers(0, 2)))
def test_masks_pulled_are_masks_pushed(tmp_path_factory, drawn):
    """The law of the round trip, by our own converter."""
    # The converter leaves out a class without a single pixel.
    pushed = np.concatenate([drawn, np.tile(np.arange(3, dtype=np.uint8), (1, 8, 4))[:, :, :11]])
    label_map = LabelMap.of(["background", "road", "sky"])
    records = Records()
    records.label("sky", "mask")
    records.label("road")
    contents = [encode_png(np.repeat(mask[:, :, None], 3, axis=2)) for mask in pushed]
    records.tasks[12] = Task(
        12, [Frame(f"{n}.png", content, 8, 11) for n, content in enumerate(contents)]
    )
    records.jobs[31] = Job(31, 12, 0, len(pushed) - 1)
    folder = tmp_path_factory.mktemp("round")
    by_name = {f"{n}.png": mask for n, mask in enumerate(pushed)}
    model = Rule(lambda pixels: (pixels[:, :, 0], np.ones((8, 11), np.float32)), label_map)
    with cvat_server(records) as url:
        uri = CvatUri.parse(url.replace("http", "cvat") + "/tasks/12")
        with CvatServer(uri.server, TOKEN) as server:
            list(push(server, uri, model, least_pixels=1, most_shapes=1000))
            pull(server, uri, folder / "export.zip", interval=0.001)
    code = convert(
        [
            f"--source={folder / 'export.zip'}",
            f"--dataset={folder / 'dataset'}",
            f"--label-report={folder / 'report.html'}",
            f"--label-metrics={folder / 'metrics.json'}",
        ]
    )
    assert code == 0
    dataset = Dataset(folder / "dataset")
    names = dataset.label_map.names
    assert sorted(names) == ["background", "road", "sky"]
    to_pushed = np.array([label_map.names.index(name) for name in names], np.uint8)
    for sample in dataset.samples:
        np.testing.assert_array_equal(to_pushed[dataset.mask(sample)], by_name[f"{sample.id}.png"])
