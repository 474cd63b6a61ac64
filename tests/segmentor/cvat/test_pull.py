import logging
import zipfile

import pytest
from emulators.cvat_server import DATE, TOKEN, Job, cvat_server, export_zip

from components.convert_labels.__main__ import main as convert
from segmentor.cvat.address import CvatUri
from segmentor.cvat.pull import pull, read_state
from segmentor.cvat.server import CvatServer
from segmentor.dataset import Dataset
from segmentor.errors import CvatError


def test_a_project_comes_as_the_zip_that_cvat_made(session, records, tmp_path):
    server, uri = session("/projects/7")
    state = pull(server, uri, tmp_path / "export.zip", interval=0.01)
    assert (tmp_path / "export.zip").read_bytes() == export_zip(records, "projects", 7)
    assert state.updated == DATE
    assert state.labels == (("road", "any", "#33ddff"),)
    assert [job.id for job in state.jobs] == [31, 32, 33]
    assert [path.name for path in tmp_path.iterdir()] == ["export.zip"]


def test_jobs_that_pass_the_filters_become_one_export(session, records, tmp_path):
    server, uri = session("/projects/7?stage=acceptance&state=completed")
    state = pull(server, uri, tmp_path / "export", interval=0.01)
    assert [(job.id, job.subset) for job in state.jobs] == [(31, "Train"), (33, "Test")]
    with zipfile.ZipFile(tmp_path / "export") as archive:
        images = sorted(name for name in archive.namelist() if name.endswith(".png"))
    assert images == [
        "images/Test/scene_004.png",
        "images/Test/scene_005.png",
        "images/Train/scene_000.png",
        "images/Train/scene_001.png",
    ]
    assert not any("32" in path for _, path in records.requests if "export" in path)


def test_a_subset_is_a_filter_too(session, tmp_path):
    server, uri = session("/projects/7?subset=Test")
    assert [job.id for job in pull(server, uri, tmp_path / "x", interval=0.01).jobs] == [33]


def test_ground_truth_jobs_are_left_out(session, records):
    records.jobs[34] = Job(34, 12, 0, 3, type="ground_truth", stage="acceptance")
    server, uri = session("/tasks/12")
    assert [job.id for job in read_state(server, uri).jobs] == [31, 32]


def test_no_job_that_passes_is_refused_with_what_there_is(session):
    server, uri = session("/projects/7?state=rejected")
    with pytest.raises(CvatError, match="2 x acceptance, completed; 1 x annotation, new"):
        read_state(server, uri)


def test_two_jobs_with_one_image_name_are_refused(session, records, tmp_path):
    records.tasks[13].frames[0].name = "scene_000.png"
    records.tasks[13].subset = "Train"
    server, uri = session("/projects/7?stage=acceptance")
    with pytest.raises(CvatError, match=r"Train/scene_000.png: an image of the jobs 31 and 33"):
        pull(server, uri, tmp_path / "x", interval=0.01)
    assert not list(tmp_path.iterdir())


def test_the_digest_changes_with_labels_jobs_and_filters_alone(session, records):
    server, uri = session("/projects/7")
    before = read_state(server, uri).digest
    records.version = "2.81.0"
    assert read_state(server, uri).digest == before
    records.jobs[32].updated = "2026-12-01T00:00:00Z"
    moved = read_state(server, uri).digest
    records.label("sky")
    assert len({before, moved, read_state(server, uri).digest}) == 3
    _, filtered = session("/projects/7?subset=Train,Test")
    assert read_state(server, filtered).digest != read_state(server, uri).digest


def test_labels_that_change_meanwhile_are_refused(session, records, tmp_path):
    class Annotator(list):
        """An annotator who saves while the export is made."""

        def pop(self, index=0):
            records.jobs[31].updated = "2026-12-01T00:00:00Z"
            return super().pop(index)

    records.states = Annotator(["started", "finished"])
    server, uri = session("/projects/7")
    with pytest.raises(CvatError, match="changed while they were exported"):
        pull(server, uri, tmp_path / "export.zip", interval=0.01)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("states", "deadline", "message"),
    [
        (["started", "failed"], 60, "the export failed: No space left on device"),
        (["started", "cancelled"], 60, "an export that was cancelled"),
        (["queued"], 0.2, r"an export that is queued after \d+ s, expected one that is finished"),
    ],
)
def test_an_export_that_does_not_end_well_is_one_line(
    session, records, tmp_path, states, deadline, message
):
    records.states = states
    server, uri = session("/tasks/12")
    with pytest.raises(CvatError, match=message):
        pull(server, uri, tmp_path / "export.zip", deadline=deadline, interval=0.01)
    assert not list(tmp_path.iterdir())
    assert len(records.cancelled) == 1


def test_progress_is_a_line(session, caplog, tmp_path, monkeypatch):
    monkeypatch.setattr("segmentor.cvat.pull.SECONDS_BETWEEN_LINES", 0.0)
    server, uri = session("/tasks/12")
    with caplog.at_level(logging.INFO):
        pull(server, uri, tmp_path / "export.zip", interval=0.01)
    assert "status=started progress=0.50" in caplog.text
    assert TOKEN not in caplog.text


def test_no_token_is_refused_before_anything_is_sent(records, address):
    with pytest.raises(CvatError, match="CVAT_ACCESS_TOKEN: not set"):
        CvatServer.of(CvatUri.parse(f"{address}/tasks/12"), {})
    assert not records.requests


@pytest.mark.parametrize(
    ("path", "token", "message"),
    [
        ("/tasks/12", "another", r"HTTP 401: Invalid token.; set CVAT_ACCESS_TOKEN"),
        ("/tasks/99", TOKEN, r"/api/tasks/99: HTTP 404: Not found.; check the id"),
    ],
)
def test_a_refusal_is_one_line_with_its_remedy(session, path, token, message):
    server, uri = session(path, token)
    with pytest.raises(CvatError, match=message) as error:
        read_state(server, uri)
    assert "\n" not in str(error.value)
    assert token not in str(error.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_that_passes_is_tried_again(session, records, status, tmp_path):
    records.failures["GET /api/tasks/12"] = [status, status]
    server, uri = session("/tasks/12")
    assert pull(server, uri, tmp_path / "export.zip", interval=0.01).name == "Task 12"


def test_forbidden_is_not_tried_again(session, records):
    records.failures["GET /api/tasks/12"] = [403, 403]
    server, uri = session("/tasks/12")
    with pytest.raises(CvatError, match="HTTP 403"):
        read_state(server, uri)
    assert records.requests.count(("GET", "/api/tasks/12")) == 1


def test_a_server_that_is_away_is_one_line(records, monkeypatch):
    with cvat_server(records) as url:
        pass
    uri = CvatUri.parse(url.replace("http", "cvat") + "/tasks/12")
    monkeypatch.setattr("segmentor.retrying.LAPTOP_SECONDS", 0.5)
    with (
        CvatServer(uri.server, TOKEN) as server,
        pytest.raises(CvatError, match=r"no answer \(.*refused.*\), expected a CVAT server"),
    ):
        read_state(server, uri)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"kind": "pipelines"}, "an API of another kind, expected a CVAT server"),
        (b"<html>Sign in</html>", r"no JSON \(.*\), expected the API of a CVAT server"),
    ],
)
def test_something_else_at_the_address_is_said(session, monkeypatch, reply, message):
    monkeypatch.setattr("emulators.cvat_server._route", lambda *_: (200, reply))
    server, uri = session("/tasks/12")
    with pytest.raises(CvatError, match=message):
        read_state(server, uri)


def test_a_server_of_another_version_is_warned_of(session, records, caplog):
    records.version = "2.11.0"
    server, uri = session("/tasks/12")
    assert read_state(server, uri).version == "2.11.0"
    assert "version=2.11.0 supported=2.80,2.81" in caplog.text


def test_a_certificate_of_an_unknown_authority_is_one_line(tls_server):
    uri = CvatUri.parse("cvat://app.cvat.ai/tasks/12")
    with (
        CvatServer(tls_server, TOKEN) as server,
        pytest.raises(CvatError, match="certificate verify failed") as error,
    ):
        read_state(server, uri)
    assert "\n" not in str(error.value)


def test_the_converter_reads_what_several_jobs_make(session, records, tmp_path):
    label = records.labels[0]["id"]
    for task in (12, 13):
        records.tasks[task].shapes.append(
            {"id": task, "type": "mask", "frame": 0, "label_id": label, "source": "manual",
             "points": [0, 40, 10, 20, 17, 24]}
        )  # fmt: skip
    server, uri = session("/projects/7?stage=acceptance")
    pull(server, uri, tmp_path / "export.zip", interval=0.01)
    outputs = [
        f"--{name}={tmp_path / name}" for name in ("dataset", "label-report", "label-metrics")
    ]
    assert convert([f"--source={tmp_path / 'export.zip'}", *outputs]) == 0
    dataset = Dataset(tmp_path / "dataset")
    assert {sample.subset for sample in dataset.samples} == {"Train", "Test"}
    painted = [sample.id for sample in dataset.samples if dataset.mask(sample).any()]
    assert sorted(painted) == ["Test/scene_004", "Train/scene_000"]


def test_a_damaged_export_is_said(session, records, tmp_path, monkeypatch):
    monkeypatch.setattr("emulators.cvat_server.export_zip", lambda *_: b"<html>login</html>")
    server, uri = session("/projects/7?subset=Test")
    with pytest.raises(CvatError, match="job 33: a damaged export"):
        pull(server, uri, tmp_path / "x", interval=0.01)
    assert not list(tmp_path.iterdir())


def test_the_whole_export_that_is_no_zip_is_said(session, monkeypatch, tmp_path):
    monkeypatch.setattr("emulators.cvat_server.export_zip", lambda *_: b"<html>login</html>")
    server, uri = session("/projects/7")
    with pytest.raises(CvatError, match="a damaged export"):
        pull(server, uri, tmp_path / "export.zip", interval=0.01)
    assert not zipfile.is_zipfile(tmp_path / "export.zip")
