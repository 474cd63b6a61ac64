"""The real DVC on the steps: repro, experiments, metrics, plots, and a revision as the source."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_export import GROUP_PATTERN, write_small_export

from pipelines.dvc.source import resolve_source
from segmentor.errors import ConfigError

VERSION = "3.67.1"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def dvc(repository, tmp_path_factory):
    """Put DVC on the PATH, from an environment of its own: 97 packages that nothing else needs."""
    folder = tmp_path_factory.mktemp("dvc") / "environment"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin/python", "-m", "pip", "install", "--quiet", f"dvc[s3]=={VERSION}"]
    subprocess.run([*install, "--constraint", repository / "constraints.txt"], check=True)
    patch = pytest.MonkeyPatch()
    own = Path(sys.executable).parent
    patch.setenv("PATH", f"{own}:{folder / 'bin'}:{os.environ['PATH']}")
    patch.setenv("DVC_NO_ANALYTICS", "1")
    # What a test's environment adds would reach the steps too.
    patch.setenv("PYTHONPATH", str(repository))
    yield
    patch.undo()


def _run(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def project(dvc, tmp_path):
    """A repository of git and DVC with an export that DVC tracks, and a remote in a folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    write_small_export(folder / "task.zip")
    _run(folder, "git", "init", "--quiet")
    _run(folder, "git", "config", "user.email", "a@example")
    _run(folder, "git", "config", "user.name", "a")
    _run(folder, "dvc", "init", "--quiet")
    _run(folder, "dvc", "remote", "add", "--quiet", "--default", "here", str(tmp_path / "remote"))
    _run(folder, "dvc", "add", "--quiet", "task.zip")
    _run(folder, "git", "add", "--all")
    _run(folder, "git", "commit", "--quiet", "--message", "export")
    _run(folder, "git", "tag", "v1")
    return folder


def test_repro_experiments_metrics_and_plots(project):
    _run(
        project,
        *("segmentor", "init", "--dvc", "--export", "task.zip"),
        *("model=tiny", "training.epochs=1"),
    )
    text = (project / "params.yaml").read_text()
    # A value that a shell would tear apart.
    text = text.replace("group-pattern: ''", f"group-pattern: '{GROUP_PATTERN}'")
    (project / "params.yaml").write_text(text)
    _run(project, "git", "add", "--all")
    _run(project, "git", "commit", "--quiet", "--message", "stages")

    _run(project, "dvc", "repro")

    assert (project / "artifacts/export/model/model.onnx").is_file()
    assert "up to date" in _run(project, "dvc", "status")
    metrics = _run(project, "dvc", "metrics", "show", "--md", "artifacts/evaluate/metrics.json")
    assert re.search(r"\| mean_iou +\|", metrics)
    _run(project, "git", "add", "--all")
    _run(project, "git", "commit", "--quiet", "--message", "results")

    output = _run(project, "dvc", "exp", "run", "--set-param", "split.seed=3")

    assert "Stage 'convert_labels' didn't change, skipping" in output
    assert "Running stage 'split'" in output
    assert "--seed 3" in (project / "dvc.lock").read_text().replace("\n", " ").replace("  ", "")
    difference = _run(project, "dvc", "params", "diff", "--md")
    assert "split.seed" in difference
    assert "split.seed" in _run(project, "dvc", "exp", "show", "--md")
    _run(project, "dvc", "plots", "show")
    page = (project / "dvc_plots/index.html").read_text()
    assert "iou_score" in page


def test_a_revision_is_the_object_with_its_content(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(ConfigError, match="which is not there.*dvc push"):
        resolve_source("dvc:task.zip@v1")
    _run(project, "dvc", "push", "--quiet")
    content = (project / "task.zip").read_bytes()

    location = Path(resolve_source("dvc:task.zip@v1"))

    assert location.is_relative_to(tmp_path / "remote/files/md5")
    assert location.read_bytes() == content
    # The file of the working tree may have changed meanwhile: the revision has not.
    (project / "task.zip").unlink()
    (project / "task.zip").write_bytes(b"another")
    assert resolve_source("dvc:task.zip@v1") == str(location)
    monkeypatch.chdir(tmp_path)
    assert resolve_source(f"dvc:{project}//task.zip@v1") == str(location)

    names = ("dataset", "label-report", "label-metrics")
    outputs = [f"--{name}={tmp_path / name}" for name in names]
    command = [sys.executable, "-m", "components.convert_labels", "--source", str(location)]
    _run(project, *command, *outputs)


def test_what_dvc_does_not_have_is_one_line(project, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(ConfigError, match=r"dvc:task.zip@v9: unknown Git revision 'v9'"):
        resolve_source("dvc:task.zip@v9")
    with pytest.raises(ConfigError, match="Unable to find DVC file with output 'none.zip'"):
        resolve_source("dvc:none.zip")
    (project / "folder").mkdir()
    (project / "folder/a.txt").write_text("a")
    _run(project, "dvc", "add", "--quiet", "folder")
    with pytest.raises(ConfigError, match=r"a folder, expected a file.*track the zip"):
        resolve_source("dvc:folder")


def test_a_remote_on_s3_is_an_object(project, monkeypatch):
    _run(project, "dvc", "remote", "add", "--quiet", "--default", "--force", "here", "s3://data/x")
    monkeypatch.chdir(project)
    location = resolve_source("dvc:task.zip")
    assert re.fullmatch(r"s3://data/x/files/md5/[0-9a-f]{2}/[0-9a-f]{30}", location)
