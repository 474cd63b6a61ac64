"""The commands around CVAT, by a server on loopback and CVAT's own client."""

import os
import re
import shlex
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from builders import write_dataset
from emulators.cvat_server import TOKEN, Frame, Job, Records, Task, cvat_server
from red_model import LABEL_MAP, write_red_model
from red_pictures import label, picture
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.task_settings import CVAT_SECRET, CVAT_TOKEN
from segmentor.image_io import encode_png
from segmentor.object_uri import ObjectUri

GUIDE = "docs/labelling.md"
OBJECT = (20, 30, 40, 60)


def _run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def address(monkeypatch):
    """A server with one task of two images, and the records of what it was sent."""
    red = np.zeros((40, 60, 3), np.uint8)
    red[5:25, 5:25, 0] = 250
    records = Records(states=["finished"])
    records.label("road")
    content = encode_png(red)
    records.tasks[12] = Task(12, [Frame("a.png", content, 40, 60), Frame("b.png", b"cut", 40, 60)])
    records.jobs[31] = Job(31, 12, 0, 1)
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    with cvat_server(records) as url:
        yield url.replace("http", "cvat"), records


def test_pull_writes_a_zip_where_it_is_told(address, tmp_path):
    result = _run("pull", f"{address[0]}/tasks/12", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path}/task-12.zip  1 job of Task 12, changed 2026-11-30" in result.output
    assert zipfile.is_zipfile(tmp_path / "task-12.zip")


def test_pull_writes_to_the_object_store(address, store, store_environment, tmp_path, monkeypatch):
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    store.ensure_bucket("pulled")
    result = _run("pull", f"{address[0]}/tasks/12", "--output", "s3://pulled/exports")
    assert result.exit_code == 0, result.output
    store.download(ObjectUri("pulled", "exports/task-12.zip"), tmp_path / "back.zip")
    assert zipfile.is_zipfile(tmp_path / "back.zip")


def test_push_tells_each_frame_and_fails_with_what_it_could_not_read(address, tmp_path):
    model = write_red_model(tmp_path / "model")
    result = _run("push", model, "--to", f"{address[0]}/tasks/12")
    assert result.exit_code == 3
    assert "     0  a.png  sent  1 shape\n" in result.output
    assert "1 sent, 1 unreadable" in result.output
    assert "1 problem: b.png: " in result.output
    assert [shape["frame"] for shape in address[1].tasks[12].shapes] == [0]


def test_push_without_a_token_is_one_line(address, tmp_path, monkeypatch):
    monkeypatch.delenv("CVAT_ACCESS_TOKEN")
    result = _run("push", write_red_model(tmp_path / "m"), "--to", f"{address[0]}/tasks/12")
    assert result.exit_code == 3
    assert "error: CVAT_ACCESS_TOKEN: not set" in result.output


def test_rank_takes_a_folder_and_a_run_s_labels(tmp_path):
    model = write_red_model(tmp_path / "model")
    samples = [(f"12_{n}", picture(OBJECT), label(*[OBJECT] * (n != 1)), "12") for n in range(3)]
    write_dataset(tmp_path / "dataset", iter(samples), LABEL_MAP)
    for name, red in (("a/sure.png", 250), ("b/in_doubt.png", 140)):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(encode_png(picture(OBJECT, red=red)))
    output = tmp_path / "ranking"
    result = _run(
        *("rank", model, tmp_path / "images", "--dataset", tmp_path / "dataset"),
        *("--output", output),
    )
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "2 unlabelled images; 1 place where 3 labelled images and the model differ",
        f"{output}/report.html",
        f"{output}/images.csv",
        f"{output}/labels.csv",
    ]
    images = (output / "images.csv").read_text().splitlines()
    assert [line.split(",")[1:3] for line in images[1:]] == [
        ["b/in_doubt.png", "b"],
        ["a/sure.png", "a"],
    ]
    assert (output / "labels.csv").read_text().splitlines()[1].startswith("1,12_1,12,missed object")
    assert "Missed object? This looks like road" in (output / "report.html").read_text()


@pytest.mark.parametrize(
    ("given", "found", "written", "kept"),
    [
        ("labels", "0 places where 1 labelled image and the model differ", "labels", "images"),
        ("images", "1 unlabelled image", "images", "labels"),
    ],
)
def test_rank_leaves_a_list_that_was_not_asked_for(tmp_path, given, found, written, kept):
    write_dataset(
        tmp_path / "dataset", iter([("a", picture(OBJECT), label(OBJECT), "a")]), LABEL_MAP
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images/b.png").write_bytes(encode_png(picture(OBJECT)))
    output = tmp_path / "ranking"
    output.mkdir()
    for name in ("images", "labels"):
        (output / f"{name}.csv").write_text("of an earlier ranking\n")
    asked = {"labels": ["--dataset", tmp_path / "dataset"], "images": [tmp_path / "images"]}
    result = _run("rank", write_red_model(tmp_path / "model"), *asked[given], "--output", output)
    assert result.output.splitlines() == [
        found,
        f"{output}/report.html",
        f"{output}/{written}.csv",
    ]
    assert (output / f"{kept}.csv").read_text() == "of an earlier ranking\n"
    assert (output / f"{written}.csv").read_text().startswith("rank,image,group,")


def test_rank_names_what_it_could_not_read(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "good.png").write_bytes(encode_png(picture(OBJECT)))
    (folder / "cut.png").write_bytes(b"cut")
    result = _run(
        *("rank", write_red_model(tmp_path / "model"), folder, "--output", tmp_path / "ranking")
    )
    assert result.exit_code == 0, result.output
    assert "not read: cut.png: data in no known image format" in result.output


@pytest.mark.parametrize(
    "command",
    [
        ("rank", "model", "cvat://127.0.0.1:9/tasks/12", "--send", "--most=-1"),
        ("push", "model", "--to=cvat://127.0.0.1:9/tasks/12", "--most-shapes=-1"),
        ("push", "model", "--to=cvat://127.0.0.1:9/tasks/12", "--least-pixels=-1"),
    ],
)
def test_a_negative_number_sends_nothing(command):
    result = _run(*command)
    assert result.exit_code == 2
    assert "should be greater than or equal to" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "segmentor rank: nothing to rank, expected images, or --dataset"),
        (("folder", "--send"), "--send: images 'folder', expected a cvat:// address"),
        (("folder",), "folder: no such file or folder"),
    ],
)
def test_rank_refuses_in_one_line(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    result = _run("rank", write_red_model(tmp_path / "model"), *arguments)
    assert result.exit_code == 3
    assert f"error: {said}" in result.output


def test_the_guides_commands_do_what_it_says(address, repository, tmp_path, monkeypatch):
    """Pull, push and cvat-cli run, against the server on loopback instead of the guide's."""
    host, records = address
    records.tasks[12].frames.pop()
    content = records.tasks[12].frames[0].content
    records.tasks[13] = Task(13, [Frame("c.png", content, 40, 60)])
    records.tasks[12].project = records.tasks[13].project = 7
    records.jobs = {
        31: Job(31, 12, 0, 0, stage="acceptance", state="completed"),
        32: Job(32, 13, 0, 0),
    }
    monkeypatch.chdir(tmp_path)
    write_red_model(tmp_path / "outputs/first")
    text = (repository / GUIDE).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    done = []
    for line in (line for block in blocks for line in block.splitlines()):
        line = line.replace("cvat://cvat.example", host)
        line = line.replace("https://cvat.example", host.replace("cvat", "http"))
        program, *arguments = shlex.split(line)
        if program == "segmentor" and arguments[0] in ("pull", "push", "rank"):
            result = _run(*arguments)
            assert result.exit_code == 0, result.output
        elif program == "cvat-cli":
            command = [sys.executable, "-m", "cvat_cli", *arguments]
            environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
            subprocess.run(command, env=environment, check=True, capture_output=True)
        elif program == "kubectl" and "-k" in arguments:
            assert (repository / arguments[-1] / "kustomization.yaml").is_file()
        elif program == "kubectl":
            assert arguments[:4] == ["create", "secret", "generic", CVAT_SECRET]
            assert f"--from-literal={CVAT_TOKEN}=..." in arguments
        else:
            # Training has tests of its own, and the gateway too.
            others = (
                "export ",
                "segmentor run",
                "segmentor submit",
                "segmentor schedule",
                "python -m serving.cvat_gateway",
            )
            assert line.startswith(others)
        done.append(program)
    assert done.count("segmentor") == 11
    assert zipfile.is_zipfile("export.zip")
    with zipfile.ZipFile("accepted.zip") as archive:
        assert archive.read("annotations.xml").count(b"<image ") == 1
    assert (tmp_path / "ranking/report.html").is_file()
    # Once by push, once by cvat-cli; rank finds nothing to change.
    assert [shape["source"] for shape in records.tasks[13].shapes] == ["auto", "auto"]
