"""Each extra alone is enough for its commands; without it, one line names it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.extras import ROOT, hidden_modules, run_with_extras

NOBODY = "http://127.0.0.1:9"
SUBMIT = ("submit", "--export", "s3://datasets/task.zip", "--endpoint", NOBODY)
SUBMIT_BULK = (
    *("submit", "--pipeline", "predict_batch", "--endpoint", NOBODY),
    *("--param", "batch_images=s3://images/2026"),
    *("--param", "published_model=s3://models/road/1", "--param"),
)

# Extras, module, arguments, exit code, and what it says.
COMMANDS = [
    (("pipelines",), "pipelines", ("--help",), 0, "submit"),
    (("pipelines",), "pipelines", SUBMIT, 3, "no answer"),
    (("pipelines",), "pipelines", (*SUBMIT, "model=unet_resnet43"), 3, "did you mean model="),
    (("pipelines",), "pipelines", (*SUBMIT, "--param", "min_iou=7"), 3, "parameter min_iou: 7"),
    (("pipelines",), "pipelines", ("compile", "--output", "compiled"), 0, "sweep.yaml"),
    (("pipelines",), "pipelines", ("predict", "one.png", "--url", NOBODY), 3, "127.0.0.1:9"),
    (("pipelines",), "pipelines", ("predict", "s3://a/b", "--output", "s3://c"), 3, "--model"),
    (("pipelines",), "pipelines", (*SUBMIT_BULK, "predictions=s3://b/c"), 3, "no answer"),
    (
        ("pipelines",),
        "pipelines",
        (*SUBMIT_BULK, "predictions=c"),
        3,
        "parameter predictions: 'c', expected",
    ),
    (("pipelines",), "pipelines", SUBMIT_BULK[:-1], 3, "parameter predictions: required, but"),
    (("data",), "components.convert_labels", ("--help",), 0, "--group-pattern"),
    (("data",), "components.split", ("--help",), 0, "--ratios"),
    (("data",), "components.choose", ("--help",), 0, "--metric"),
    (("data",), "components.propose", ("--help",), 0, "--most-issues"),
    (("data",), "components.deploy", ("--help",), 0, "--min-iou"),
    (("data",), "components.predict_batch", ("--help",), 0, "--predict-workers"),
    (("data",), "components.deploy.check", ("--model-name", "Road"), 3, "--model-name: 'Road'"),
    (("trainer",), "components.train", ("--cfg", "job"), 0, "architecture"),
    (("trainer",), "components.evaluate", ("--help",), 0, "--checkpoint"),
    (("trainer",), "components.export", ("--help",), 0, "--size-policy"),
    (("predictor",), "serving", ("--help",), 0, "--model_dir"),
    # What is missing is named.
    ((), "pipelines", ("--help",), 3, "pip install '.[pipelines]'"),
    (("pipelines",), "pipelines", ("ui",), 3, "pip install '.[ui]'"),
]


@pytest.mark.parametrize(("extras", "module", "argv", "code", "said"), COMMANDS)
def test_an_extra_alone_runs_its_commands(extras, module, argv, code, said, tmp_path: Path):
    (tmp_path / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run_with_extras(extras, module, *argv, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if code == 3:
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1


def test_the_client_has_neither_torch_nor_what_trains():
    hidden = hidden_modules("pipelines")
    assert {"torch", "albumentations", "catalyst", "segmentation_models_pytorch"} <= set(hidden)
    assert not {"hydra", "omegaconf", "kfp", "typer", "numpy"} & set(hidden), json.dumps(hidden)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_client_installs_alone_and_refuses_a_wrong_override(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("segmentor", "components", "pipelines", "serving"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copyfile(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / "bin"
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--constraint"]
    subprocess.run([*pip, "constraints.txt", ".[pipelines]"], cwd=source, check=True)
    done = subprocess.run(
        [programs / "segmentor", *SUBMIT, "model=unet_resnet43"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: model: no preset 'unet_resnet43'")
