"""Two evaluations side by side: figures, a paired interval, refusals of unlike things."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.runs.comparison import compare_runs
from segmentor.errors import ContractError
from segmentor.label_map import LabelMap

ROAD = LabelMap.of(["background", "road"])


def _evaluation(
    folder: Path, wrong: list[int], label_map: LabelMap = ROAD, digest: str = "sha256:0"
) -> Path:
    """Write an evaluation: image k, of group k // 2, misses `wrong[k]` of 1000 road pixels."""
    folder.mkdir()
    figures = {"label_map": label_map.to_json(), "dataset_digest": digest}
    (folder / "evaluation.json").write_text(json.dumps(figures))
    with (folder / "per_image.csv").open("w", newline="") as file:
        names = [f"{kind}[{name}]" for name in label_map.names for kind in ("tp", "fp", "fn")]
        writer = csv.writer(file)
        writer.writerow(["image", "group", "dice_loss", "iou_score", *names])
        for k, missed in enumerate(wrong):
            background, road = (9000, missed, 0), (1000 - missed, 0, missed)
            score = (1000 - missed) / 1000
            writer.writerow([f"image_{k}", f"drive_{k // 2}", 0.1, score, *background, *road])
    return folder


def test_a_run_that_is_better_on_every_drive_is_called_better(tmp_path: Path) -> None:
    a = _evaluation(tmp_path / "a", [200 + k for k in range(24)])
    b = _evaluation(tmp_path / "b", [100 + k for k in range(24)])

    lines = list(compare_runs(a, b))

    iou_a = 1 - np.mean([200 + k for k in range(24)]) / 1000
    assert f"IoU  A {iou_a:.4f}, B {iou_a + 0.1:.4f}, B - A +0.1000 (+0.1000 .. +0.1000)" in lines
    assert "B is better." in lines


def test_noise_in_both_directions_is_no_difference(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    a = _evaluation(tmp_path / "a", list(random.integers(50, 150, 24)))
    b = _evaluation(tmp_path / "b", list(random.integers(50, 150, 24)))

    assert "No difference shown." in list(compare_runs(a, b))


def test_a_run_compared_with_itself_differs_by_nothing(tmp_path: Path) -> None:
    a = _evaluation(tmp_path / "a", [1, 2, 3, 4])

    text = "\n".join(compare_runs(a, a))

    assert "B - A +0.0000 (+0.0000 .. +0.0000)" in text
    assert "2 groups: the interval is too narrow to be trusted" in text


def test_the_image_that_changed_most_comes_first(tmp_path: Path) -> None:
    a = _evaluation(tmp_path / "a", [100, 100, 100, 100])
    b = _evaluation(tmp_path / "b", [110, 100, 700, 90])

    lines = list(compare_runs(a, b))

    start = next(k for k, line in enumerate(lines) if line.startswith("images that changed most"))
    assert lines[start + 2].startswith("image_2")
    assert lines[start + 2].endswith("-0.6000")


@pytest.mark.parametrize(
    ("other", "message"),
    [({"digest": "sha256:1"}, "another test set"), ({"wrong": [1, 2]}, "another images")],
)
def test_runs_measured_on_other_images_are_refused(
    other: dict[str, object], message: str, tmp_path: Path
) -> None:
    a = _evaluation(tmp_path / "a", [1, 2, 3])
    b = _evaluation(tmp_path / "b", **{"wrong": [1, 2, 3], **other})

    with pytest.raises(ContractError, match=message):
        list(compare_runs(a, b))


def test_other_classes_are_refused_by_the_command_in_one_line(tmp_path: Path) -> None:
    a = _evaluation(tmp_path / "a", [1, 2])
    b = _evaluation(tmp_path / "b", [1, 2], LabelMap.of(["background", "rail"]))

    result = CliRunner().invoke(app, ["compare", str(a), str(b)])

    assert result.exit_code == 3
    assert "another classes (background, rail), expected that of" in result.stderr
    assert result.stderr.count("\n") == 1
