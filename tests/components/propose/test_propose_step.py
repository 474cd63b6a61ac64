"""propose against a CVAT server on loopback, by CVAT's own client."""

import pytest
from builders import write_dataset
from emulators.cvat_server import TOKEN, Frame, Job, Records, Task, cvat_server
from red_model import LABEL_MAP, write_red_model
from red_pictures import SIZE, label, picture

from components.propose.__main__ import main
from segmentor.image_io import encode_png

OBJECT = (20, 30, 40, 60)


@pytest.fixture
def records():
    """A project: task 12 is labelled and done, task 13 is not; its second frame is in doubt."""
    made = Records()
    road = made.label("road")
    done = [picture(OBJECT) for _ in range(3)]
    waiting = [picture(OBJECT), picture(OBJECT, red=140), picture((4, 4, 50, 70), red=250)]
    for task, pictures in ((12, done), (13, waiting)):
        frames = [
            Frame(f"{task}_{n}.png", encode_png(pixels), *SIZE) for n, pixels in enumerate(pictures)
        ]
        made.tasks[task] = Task(task, frames, project=7)
    drawn = {"type": "rectangle", "label_id": road, "points": [30, 20, 60, 40], "source": "manual"}
    made.tasks[12].shapes = [{**drawn, "id": n, "frame": n} for n in range(3)]
    made.jobs = {31: Job(31, 12, 0, 2, state="completed"), 32: Job(32, 13, 0, 2)}
    return made


@pytest.fixture
def propose(records, tmp_path, monkeypatch):
    """Run the step; the label of the second frame of task 12 misses its object."""
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    samples = [(f"12_{n}", picture(OBJECT), label(*[OBJECT] * (n != 1)), "12") for n in range(3)]
    # What pull and convert_labels make of a frame that nobody has labelled.
    samples.append(("13_0", picture(OBJECT), label(), "13"))
    write_dataset(tmp_path / "dataset", iter(samples), LABEL_MAP)
    model = write_red_model(tmp_path / "model")

    def run(address, *flags):
        return main(
            [
                f"--dataset={tmp_path / 'dataset'}",
                f"--model={model}",
                f"--to={address.replace('http', 'cvat')}/projects/7",
                f"--ranking={tmp_path / 'ranking'}",
                f"--ranking-report={tmp_path / 'report.html'}",
                *flags,
            ]
        )

    return run


def test_frames_get_masks_and_labels_get_issues(records, propose, tmp_path, capsys):
    with cvat_server(records) as address:
        assert propose(address, "--most-images=1", "--most-issues=5") == 0
    assert [(s["frame"], s["source"]) for s in records.tasks[13].shapes] == [(1, "auto")]
    (issue,) = records.issues
    assert (issue["job"], issue["frame"]) == (31, 1)
    assert issue["position"] == [30.0, 20.0, 60.0, 40.0]
    assert issue["message"].startswith("Missed object? This looks like road")
    assert capsys.readouterr().out.endswith("; CVAT has masks for 1 frame, 1 new issue\n")
    lines = (tmp_path / "ranking/images.csv").read_text().splitlines()
    assert lines[1].startswith('1,"13_1.png (task 13, frame 1)",task 13,')
    assert "13_0" not in (tmp_path / "ranking/labels.csv").read_text()
    assert "/tasks/12/jobs/31?frame=1" in (tmp_path / "report.html").read_text()


def test_again_sends_nothing_twice(records, propose):
    with cvat_server(records) as address:
        assert propose(address) == 0
        before = list(records.tasks[13].shapes), list(records.issues)
        assert propose(address) == 0
    assert (records.tasks[13].shapes, records.issues) == before


def test_nothing_is_sent_when_nothing_is_wanted(records, propose, capsys):
    with cvat_server(records) as address:
        assert propose(address, "--most-images=0", "--most-issues=0") == 0
    assert not [path for method, path in records.requests if method in ("POST", "PATCH")]
    assert "CVAT" not in capsys.readouterr().out


def test_a_label_that_is_missing_is_told_before_anything_is_predicted(records, propose, capsys):
    records.labels[0]["name"] = "lane"
    with cvat_server(records) as address:
        assert propose(address) == 3
    assert "'road' is missing" in capsys.readouterr().err
    assert ("GET", "/api/tasks/13/data") not in records.requests


def test_an_address_of_another_kind_is_refused(propose, capsys):
    assert propose("ftp://elsewhere") == 3
    assert "not an address of CVAT" in capsys.readouterr().err
