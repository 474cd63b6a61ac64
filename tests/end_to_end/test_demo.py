"""The demo as a user runs it, the commands on the run that it leaves, and the tutorial's."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from page_commands import fenced_lines, run_in_order

from pipelines.demo.drives import SETTINGS
from segmentor.dataset import Dataset
from segmentor.image_io import decode_index
from segmentor.run_record import RunRecord

MAX_FLIPPED = 1e-5
HELD_OUT = 12
# The commands of the tutorial that its test leaves out, and why.
NOT_RUN = {
    "make setup": "makes the environment of the tests",
    "source .venv/bin/activate": "is what the tests are run in",
    "segmentor demo --output outputs/first": "is what the fixture ran",
    "segmentor run --export my-task.zip --output outputs/mine": "is run by tests/test_readme.py",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def _segmentor(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr
    return result


def test_the_demo_reaches_its_figures_and_says_so(demo_run: tuple[Path, str]) -> None:
    folder, output = demo_run

    assert float(re.search(r"^IoU +(\S+) on 12 held-out images", output, re.M)[1]) >= 0.90
    # On another processor a few may: torch and onnxruntime choose other kernels there.
    flipped, pixels = re.search(r"^parity .* (\S+) of (\S+) pixels flipped$", output, re.M).groups()
    assert int(flipped.replace(",", "")) <= MAX_FLIPPED * int(pixels.replace(",", ""))
    assert re.search(r"^overall +\|", output, re.M)
    assert re.search(r"\d+ ms \(median of 20 requests\)", output)
    for line in ("published  s3://models/road/", f"run page   {folder / 'index.html'}"):
        assert line in output


def test_every_artifact_is_there_and_typed(demo_run: tuple[Path, str]) -> None:
    record = RunRecord.read(demo_run[0])

    assert record.state == "done"
    for item in record.artifacts:
        assert (record.folder / item.path).exists()
        assert item.type.startswith("system.")
    drives = {
        split: {sample.group for sample in Dataset(record.artifact("split", split)).samples}
        for split in ("train", "val", "test")
    }
    assert [len(groups) for groups in drives.values()] == [12, 3, 3]
    assert len(set.union(*drives.values())) == 18
    for groups in drives.values():
        assert {group.partition("_")[0] for group in groups} == set(SETTINGS)


def test_nothing_the_demo_started_is_left(demo_run: tuple[Path, str]) -> None:
    still = subprocess.run(
        ["pgrep", "-f", str(demo_run[0])], capture_output=True, text=True, check=False
    )

    assert still.stdout == ""


def test_evaluate_again_gives_the_figures_of_the_run(
    demo_run: tuple[Path, str], tmp_path: Path
) -> None:
    record = RunRecord.read(demo_run[0])

    result = _segmentor("evaluate", demo_run[0], "--output", tmp_path)

    again = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    first = json.loads((record.artifact("evaluate", "evaluation") / "evaluation.json").read_text())
    assert again["dataset"] == pytest.approx(first["dataset"], abs=1e-4)
    assert again["dataset_digest"] == first["dataset_digest"]
    assert re.search(r"^image +\| dice_loss \| iou_score", result.stdout, re.M)


def test_infer_without_a_server_gives_the_mask_that_was_served(
    demo_run: tuple[Path, str], tmp_path: Path
) -> None:
    served = next((demo_run[0] / "predictions").glob("*.mask.png"))
    name = served.name.removesuffix(".mask.png")
    dataset = Dataset(RunRecord.read(demo_run[0]).artifact("split", "test"))
    sample = next(sample for sample in dataset.samples if sample.id == name)
    image = tmp_path / f"{name}.{sample.extension}"
    image.write_bytes(dataset.image_content(sample))

    _segmentor("infer", demo_run[0], image, "--output", tmp_path / "out")

    np.testing.assert_array_equal(
        decode_index((tmp_path / "out" / f"{name}.mask.png").read_bytes(), "inferred"),
        decode_index(served.read_bytes(), "served"),
    )


def test_export_again_keeps_parity(demo_run: tuple[Path, str], tmp_path: Path) -> None:
    result = _segmentor("export", demo_run[0], "--output", tmp_path, "--triton")

    for name in ("config.pbtxt", "1/model.onnx"):
        assert (tmp_path / "triton" / "road" / name).is_file()
    assert f"triton: {tmp_path / 'triton' / 'road'}" in result.stdout
    assert (tmp_path / "model" / "model.onnx").is_file()
    assert json.loads((tmp_path / "parity.json").read_text())["flipped_fraction"] <= 1e-5


def test_the_commands_of_the_tutorial_run_in_order(
    demo_run: tuple[Path, str], repository: Path, tmp_path: Path
) -> None:
    commands = fenced_lines(repository / "docs" / "tutorial.md")
    assert set(NOT_RUN) < set(commands)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "first").symlink_to(demo_run[0])

    run_in_order([line for line in commands if line not in NOT_RUN], tmp_path, repository)

    assert (tmp_path / "dataset.html").is_file()
    masks = sorted((tmp_path / "masks").glob("*.mask.png"))
    assert len(masks) == HELD_OUT
    for mask in masks:
        assert (tmp_path / "predictions" / mask.name).read_bytes() == mask.read_bytes()
