"""A CVAT project as the source: converted, with what it was in the provenance."""

import numpy as np
import pytest
from cvat_sdk import masks
from emulators.cvat_server import TOKEN, Frame, Job, Records, Task, cvat_server

from components.convert_labels.__main__ import main
from segmentor.dataset import Dataset
from segmentor.image_io import encode_png
from segmentor.source_state import source_state


@pytest.fixture
def records(monkeypatch):
    """A task of four images, half of each of them road."""
    records = Records(states=["finished"])
    label = records.label("road")
    frames = [
        Frame(f"{n}.png", encode_png(np.full((8, 12, 3), 40 * n, np.uint8)), 8, 12)
        for n in range(4)
    ]
    bitmap = np.zeros((8, 12), bool)
    bitmap[4:] = True
    shapes = [
        {"id": n, "type": "mask", "frame": n, "label_id": label, "source": "manual",
         "points": masks.encode_mask(bitmap)}
        for n in range(4)
    ]  # fmt: skip
    records.tasks[12] = Task(12, frames, shapes=shapes)
    records.jobs[31] = Job(31, 12, 0, 3)
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    return records


def _convert(tmp_path, source, *more):
    names = ("dataset", "label-report", "label-metrics")
    outputs = [f"--{name}={tmp_path / name}" for name in names]
    return main([f"--source={source}", *more, *outputs])


def test_a_task_is_converted_and_remembered(records, tmp_path):
    with cvat_server(records) as url:
        source = url.replace("http", "cvat") + "/tasks/12"
        state = source_state({"source": source, "images": "", "label_map": ""})
        assert _convert(tmp_path, source, f"--source-state={state}") == 0
    dataset = Dataset(tmp_path / "dataset")
    for sample in dataset:
        assert dataset.mask(sample)[4:].all()
        assert not dataset.mask(sample)[:4].any()
    provenance = dataset.manifest["provenance"]
    assert provenance["source"] == source
    assert provenance["cvat"]["server"] == url
    assert provenance["cvat"]["name"] == "Task 12"
    assert [job["id"] for job in provenance["cvat"]["jobs"]] == [31]
    assert TOKEN not in str(provenance)


def test_labels_that_changed_since_the_check_are_refused(records, tmp_path, capsys):
    with cvat_server(records) as url:
        source = url.replace("http", "cvat") + "/tasks/12"
        state = source_state({"source": source, "images": "", "label_map": ""})
        records.jobs[31].updated = "2026-12-01T00:00:00Z"
        assert _convert(tmp_path, source, f"--source-state={state}") == 3
    assert "changed since check_deployment looked at it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
