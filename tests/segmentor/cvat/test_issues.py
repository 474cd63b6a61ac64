"""Frames of a server with their names and jobs, and issues on them."""

import pytest
from emulators.cvat_server import Frame as ServedFrame

from segmentor.cvat.frames import frames_by_sample, frames_of
from segmentor.cvat.issues import Remark, open_issues
from segmentor.errors import CvatError

BOX = (10, 20, 30, 60)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/projects/7", [(31, 0), (31, 1), (32, 2), (32, 3), (33, 0), (33, 1)]),
        ("/projects/7?stage=annotation", [(32, 2), (32, 3)]),
        ("/tasks/13", [(33, 0), (33, 1)]),
        ("/jobs/32", [(32, 2), (32, 3)]),
    ],
)
def test_frames_of_an_address(session, path, expected):
    frames = frames_of(*session(path))
    assert [(frame.job, frame.index) for frame in frames] == expected


def test_a_person_has_labelled_what_is_drawn_or_done(session, records):
    records.jobs[33].state = "annotation"
    label = records.labels[0]["id"]
    drawn = {"id": 1, "type": "rectangle", "label_id": label, "points": [0, 0, 9, 9]}
    records.tasks[12].shapes += [
        {**drawn, "frame": 2, "source": "manual"},
        {**drawn, "id": 2, "frame": 3, "source": "auto"},
    ]
    frames = frames_of(*session("/projects/7"))
    labelled = [(frame.task, frame.index) for frame in frames if frame.is_labelled]
    assert labelled == [(12, 0), (12, 1), (12, 2)]


def test_samples_find_their_frames_by_name(session, records):
    records.tasks[13].frames[0].name = "scene_000.png"
    records.tasks[12].frames[3] = ServedFrame("scene_002.jpg", b"", 64, 96)
    found = frames_by_sample(frames_of(*session("/projects/7")))
    assert found["scene_001"].index == 1
    assert found["Test/scene_000"].task == 13
    assert found["scene_002.jpg"].index == 3
    # Two frames could be meant.
    assert "scene_000" not in found
    assert "scene_002" not in found


def test_an_issue_says_where_and_what(session, records):
    server, uri = session("/projects/7")
    frame = frames_of(server, uri)[2]
    assert open_issues(server, [Remark(frame, BOX, "Missed object?")]) == 1
    (issue,) = records.issues
    assert (issue["job"], issue["frame"], issue["message"]) == (32, 2, "Missed object?")
    assert issue["position"] == [20.0, 10.0, 60.0, 30.0]
    assert frame.page(server) == f"{server.url}/tasks/12/jobs/32?frame=2"


def test_a_place_gets_one_issue_even_if_it_is_resolved(session, records):
    server, uri = session("/projects/7")
    frame, other = frames_of(server, uri)[2:4]
    moved, elsewhere = (12, 22, 31, 61), (40, 20, 60, 60)
    open_issues(server, [Remark(frame, BOX, "one")])
    records.issues[0]["resolved"] = True
    remarks = [Remark(frame, BOX, "again"), Remark(frame, moved, "by another model")]
    assert open_issues(server, remarks) == 0
    remarks += [Remark(frame, elsewhere, "two"), Remark(other, BOX, "three")]
    assert open_issues(server, remarks) == 2
    assert [issue["message"] for issue in records.issues] == ["one", "two", "three"]


def test_an_outline_that_a_person_drew_counts_by_its_bounds(session, records):
    server, uri = session("/jobs/32")
    frame = frames_of(server, uri)[0]
    outline = [20, 10, 60, 12, 58, 30, 20, 29]
    records.issues.append({"id": 1, "job": 32, "frame": 2, "position": outline, "message": "mine"})
    assert open_issues(server, [Remark(frame, BOX, "same place")]) == 0


def test_a_server_that_refuses_is_one_line(session, records):
    server, uri = session("/jobs/32")
    frame = frames_of(server, uri)[0]
    records.failures["POST /api/issues"] = [403]
    with pytest.raises(CvatError, match="HTTP 403: as the test asked"):
        open_issues(server, [Remark(frame, BOX, "one")])
