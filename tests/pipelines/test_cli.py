"""The command line: help with examples at once, and errors in one line with the right exit code."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from red_model import write_red_model
from typer.testing import CliRunner, Result

from pipelines.cli import app
from segmentor.image_io import decode_image, decode_index, encode_png

COMMANDS = [[command.name or command.callback.__name__] for command in app.registered_commands]
COMMANDS += [["dataset", name] for name in ("info", "unpack")]
COMMANDS += [["schedule", name] for name in ("create", "list", "pause", "resume", "delete")]
COMMANDS.remove(["train"])  # its help is the train step's own


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.zip"
    path.write_bytes(b"PK")
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = _run(*command, "--help")

    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"segmentor {' '.join(command)}" in result.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_small_names_for_values_and_fits_a_hundred_columns(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "100"})

    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 100
    if lines[0].startswith("Usage:"):  # The step `train` prints its own page.
        names = lines[0].replace("[OPTIONS]", "")
        assert names == names.lower().replace("usage", "Usage")


@pytest.mark.parametrize("group", [[], ["dataset"], ["schedule"]])
def test_no_summary_of_a_command_is_cut_off_in_a_hundred_columns(group: list[str]) -> None:
    result = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "100"})

    assert "Commands:" in result.output
    assert "..." not in result.output.partition("Commands:")[2]


def test_a_wrong_word_is_refused_with_the_usage_of_the_command(tmp_path: Path) -> None:
    result = _run("export", tmp_path, "--size-policy", "crop")

    assert result.exit_code == 2
    assert "components.export" not in result.output
    assert "'crop' is not one of 'trained', 'resize', 'native'" in " ".join(result.output.split())


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "kfp", "numpy", "cv2", "hydra", "kserve", "httpx")
    code = f"import sys, pipelines.cli; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--export", "nothing.zip"], "nothing.zip: no such file or folder"),
        (["run", "--export", "{export}", "-p", "sead=1"], "did you mean seed?"),
        (["run", "--export", "{export}", "-p", "seed=one"], "parameter seed: 'one'"),
        (["run", "--export", "{export}", "-p", "source=x"], "parameter source: given twice"),
        (["run", "--export", "{export}", "-p", "seed"], "expected name=value"),
        (["evaluate", "{folder}"], "no run.json, expected the folder of a run"),
        (["export", "{folder}"], "no run.json, expected the folder of a run"),
        (["infer", "{folder}", "{export}"], "no run and no model.onnx"),
        (["serve", "{folder}"], "no run and no model.onnx"),
        (["infer", "{folder}", "nowhere"], "nowhere: no such file or folder"),
        (["predict", "nowhere"], "nowhere: no such file or folder"),
        (["predict", "{export}", "--url", "http://127.0.0.1:9"], "start one with"),
        (["dataset", "info", "{folder}"], "no manifest.json"),
    ],
)
def test_a_known_error_is_one_line_and_exit_code_3(
    arguments: list[str], message: str, export: Path
) -> None:
    values = {"export": export, "folder": export.parent}
    result = _run(*(argument.format(**values) for argument in arguments))

    assert result.exit_code == 3, result.output
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["rum"], ["run"], ["run", "--export", "x", "--runner", "vm"]]
)
def test_a_usage_error_is_exit_code_2(arguments: list[str]) -> None:
    result = _run(*arguments)

    assert result.exit_code == 2
    assert "Error: " in result.stderr


@pytest.mark.parametrize("command", ["run", "train"])
def test_an_override_with_dashes_is_shown_without_them(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", command, "--training.epochs=3"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    expected = (
        "error: --training.epochs=3: found an override with dashes, expected training.epochs=3\n"
    )
    assert done.stderr == expected


def test_a_refused_command_leaves_no_run_folder(export: Path, tmp_path: Path) -> None:
    _run("run", "--export", export, "-p", "sead=1", "--output", tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_infer_writes_masks_and_overlays_with_a_model_alone(tmp_path: Path) -> None:
    model = write_red_model(tmp_path / "model")
    image = np.zeros((30, 50, 3), np.uint8)
    image[10:] = (255, 0, 0)
    (tmp_path / "image.png").write_bytes(encode_png(image))

    result = _run("infer", model, tmp_path / "image.png", "--output", tmp_path / "out")

    assert result.exit_code == 0, result.output
    mask = decode_index((tmp_path / "out" / "image.mask.png").read_bytes(), "mask")
    np.testing.assert_array_equal(mask, image[:, :, 0] // 255)
    assert decode_image((tmp_path / "out" / "image.overlay.png").read_bytes()).shape == image.shape


def test_infer_does_the_other_images_and_then_reports_the_bad_ones(tmp_path: Path) -> None:
    model = write_red_model(tmp_path / "model")
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(b"no image at all")
    (images / "b.png").write_bytes(encode_png(np.zeros((30, 50, 3), np.uint8)))

    result = _run("infer", model, images, "--output", tmp_path / "out")

    assert result.exit_code == 3
    assert "1 problem: " in result.output
    assert f"{images}/a.png: " in result.output
    assert "the other images are done" in result.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["b.mask.png", "b.overlay.png"]


def test_compile_writes_the_committed_pipelines_and_manifests(
    tmp_path: Path, repository: Path
) -> None:
    result = _run("compile", "--output", tmp_path, "--kubernetes")

    assert result.exit_code == 0, result.output
    for committed in (repository / "pipelines").glob("*.yaml"):
        assert (tmp_path / committed.name).read_text() == committed.read_text(), "run make compile"
        manifest = (tmp_path / f"{committed.stem}.kubernetes.yaml").read_text()
        assert "kind: PipelineVersion" in manifest


def test_compile_leaves_the_committed_pipelines_without_a_registry() -> None:
    result = _run("compile", "--registry", "registry.example/vision")

    assert result.exit_code == 3
    assert "--registry: no --output, expected a folder" in result.output
