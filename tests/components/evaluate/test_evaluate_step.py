import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from builders import ROAD, STREET, draw_scene, scenes, write_checkpoint, write_dataset

from components.evaluate.__main__ import main
from segmentor.dataset import Dataset
from segmentor.inference import predict_mask
from segmentor.label_map import LabelMap
from segmentor.metrics import class_scores, confusion_matrix
from segmentor.nn.checkpoint import checkpoint_digest, load_checkpoint
from segmentor.nn.deployable import as_forward

SIZE = (97, 131)
OUTPUTS = ("evaluation", "metrics", "confusion", "evaluation_report")


def run(folder: Path, checkpoint: Path, test: Path) -> tuple[int, dict[str, Path]]:
    """Run the step as KFP would; return the exit code and the outputs by name."""
    paths = {name: folder / name for name in OUTPUTS}
    executor_input = {
        "outputs": {
            "outputFile": str(folder / "executor_output.json"),
            "artifacts": {
                name: {"artifacts": [{"name": name, "uri": str(path)}]}
                for name, path in paths.items()
            },
        }
    }
    flags = [f"--{name.replace('_', '-')}={path}" for name, path in paths.items()]
    inputs = [f"--checkpoint={checkpoint}", f"--test={test}", "--threads=2"]
    return main([*inputs, *flags, "--executor-input", json.dumps(executor_input)]), paths


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("train") / "checkpoint", ROAD, steps=15)


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Seven scenes, and one without road."""
    image, mask = draw_scene(70, SIZE, road=False)
    empty = ("empty", image, (mask == 1).astype(np.uint8), "drive_9")
    folder = tmp_path_factory.mktemp("split") / "test"
    return write_dataset(folder, iter([*scenes(7, ROAD, SIZE), empty]))


@pytest.fixture(scope="module")
def outputs(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, test_set: Dataset
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("evaluate")
    code, paths = run(folder, checkpoint, test_set.folder)
    assert code == 0
    return {**paths, "executor_output": folder / "executor_output.json"}


def rows(outputs: dict[str, Path]) -> list[dict[str, str]]:
    with (outputs["evaluation"] / "per_image.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_figures_are_those_of_the_masks_that_inference_gives(
    outputs: dict[str, Path], checkpoint: Path, test_set: Dataset
) -> None:
    loaded = load_checkpoint(checkpoint)
    forward = as_forward(loaded.deployable())
    confusion = np.sum(
        [
            confusion_matrix(
                test_set.mask(sample),
                predict_mask(forward, loaded.contract, test_set.image_content(sample)),
                2,
            )
            for sample in test_set.samples
        ],
        axis=0,
    )
    evaluation = json.loads((outputs["evaluation"] / "evaluation.json").read_text())
    scores = class_scores(confusion)
    assert evaluation["confusion"] == confusion.tolist()
    assert evaluation["dataset"]["iou"] == pytest.approx(scores.iou[1])
    assert evaluation["dataset"]["mean_iou"] == pytest.approx(scores.mean_iou())
    assert evaluation["classes"][1]["name"] == "road"
    assert evaluation["classes"][1]["precision"] == pytest.approx(scores.precision[1])
    assert evaluation["samples"] == 8
    assert evaluation["groups"] == 4
    assert evaluation["threshold"] == 0.5
    assert evaluation["dataset_digest"] == test_set.digest
    assert evaluation["checkpoint_digest"] == checkpoint_digest(checkpoint)


def test_each_image_has_a_row_and_the_means_are_those_of_the_rows(
    outputs: dict[str, Path], test_set: Dataset
) -> None:
    table = rows(outputs)
    evaluation = json.loads((outputs["evaluation"] / "evaluation.json").read_text())
    assert [row["image"] for row in table] == [sample.id for sample in test_set.samples]
    for column in ("dice_loss", "iou_score"):
        mean = np.mean([float(row[column]) for row in table if row[column]])
        assert evaluation["per_image"][f"mean_{column}"] == pytest.approx(mean, abs=1e-5)
    counts = np.sum(
        [[int(row[f"{kind}[road]"]) for kind in ("tp", "fp", "fn")] for row in table], 0
    )
    assert counts[0] / counts.sum() == pytest.approx(evaluation["dataset"]["iou"])


def test_intervals_slices_calibration_and_edges_are_in_the_json(outputs: dict[str, Path]) -> None:
    evaluation = json.loads((outputs["evaluation"] / "evaluation.json").read_text())
    low, high = evaluation["intervals"]["iou"]
    assert low <= evaluation["dataset"]["iou"] <= high
    assert evaluation["intervals"]["groups"] == 4
    assert {part["by"] for part in evaluation["slices"]} >= {"group", "brightness"}
    assert 0 <= evaluation["calibration"]["ece"] <= 1
    assert 0 < evaluation["classes"][1]["boundary_iou"] < 1
    assert evaluation["classes"][1]["hd95"] > 0
    sweep = evaluation["threshold_sweep"]
    assert sweep["best_iou"] >= evaluation["dataset"]["iou"]
    assert sweep["kitti_perspective"]["max_f"] == pytest.approx(
        2 * sweep["best_iou"] / (1 + sweep["best_iou"])
    )


def test_an_image_without_foreground_scores_by_the_stated_policy(outputs: dict[str, Path]) -> None:
    row = rows(outputs)[-1]
    evaluation = json.loads((outputs["evaluation"] / "evaluation.json").read_text())
    predicted = int(row["fp[road]"])
    assert row["image"] == "empty"
    assert float(row["iou_score"]) == (0 if predicted else 1)
    assert evaluation["empty_truth"]["images"] == 1
    assert evaluation["empty_truth"]["false_positive_pixels"] == predicted


def test_kfp_gets_finite_flat_metrics_and_a_confusion_matrix(outputs: dict[str, Path]) -> None:
    artifacts = json.loads(outputs["executor_output"].read_text())["artifacts"]
    assert set(artifacts) == set(OUTPUTS)
    metrics = artifacts["metrics"]["artifacts"][0]["metadata"]
    assert metrics == json.loads(outputs["metrics"].read_text())
    assert all(isinstance(value, int | float) for value in metrics.values())
    confusion = artifacts["confusion"]["artifacts"][0]["metadata"]
    matrix = confusion["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["background", "road"]
    truth, hits = sum(matrix["rows"][1]["row"]), matrix["rows"][1]["row"][1]
    predicted = sum(row["row"][1] for row in matrix["rows"])
    assert hits / (truth + predicted - hits) == pytest.approx(metrics["iou_road"])
    recalls = [point["recall"] for point in confusion["confidenceMetrics"]]
    assert recalls == sorted(recalls)


def test_the_report_shows_worst_and_best_and_needs_no_other_file(outputs: dict[str, Path]) -> None:
    page = outputs["evaluation_report"].read_text()
    for text in ("Worst images", "Best images", "Precision and recall", "Confusion matrix"):
        assert text in page
    sources = re.findall(r'(?:src|href|url)[=(]["\']?([^"\')]{5})', page)
    assert {source for source in sources if not source.startswith("#")} == {"data:"}
    assert page.count("data:image/jpeg") == 4 * 8
    assert "KITTI road" in page


def test_the_report_says_at_its_top_which_model_was_measured_on_what(
    outputs: dict[str, Path], checkpoint: Path, test_set: Dataset
) -> None:
    top = outputs["evaluation_report"].read_text().partition("<h2>")[0]
    for text in ("unet with tu-test_resnet", checkpoint_digest(checkpoint), test_set.digest):
        assert text in top


def test_figures_on_the_page_have_four_decimals_and_kittis_are_for_roads(tmp_path: Path) -> None:
    cells = LabelMap.of(["background", "cell"])
    checkpoint = write_checkpoint(tmp_path / "checkpoint", cells)
    dataset = write_dataset(tmp_path / "test", scenes(2, ROAD), cells)
    _, paths = run(tmp_path, checkpoint, dataset.folder)
    page = paths["evaluation_report"].read_text()
    assert "KITTI" not in page
    assert f">{float(rows(paths)[0]['iou_score']):.4f}<" in page
    assert not re.search(r'class="number">0\.\d{1,3}<', page)


def test_the_table_is_printed(
    tmp_path: Path, checkpoint: Path, test_set: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = run(tmp_path, checkpoint, test_set.folder)
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [part.strip() for part in lines[0].split("|")] == ["image", "dice_loss", "iou_score"]
    assert lines[10].startswith("overall")


def test_several_classes_with_ignored_pixels_and_an_absent_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", STREET)
    image, mask = draw_scene(1, SIZE, road=False)
    mask[:20] = 255
    ignored = np.full(SIZE, 255, np.uint8)
    samples = [("a", image, mask, "g"), ("b", image, ignored, "g")]
    dataset = write_dataset(tmp_path / "test", iter(samples), STREET)
    code, paths = run(tmp_path, checkpoint, dataset.folder)
    evaluation = json.loads((paths["evaluation"] / "evaluation.json").read_text())
    assert code == 0
    assert np.sum(evaluation["confusion"]) == np.count_nonzero(mask != 255)
    assert evaluation["classes"][1]["support"] == 0
    assert evaluation["classes"][1]["recall"] is None
    assert evaluation["classes"][1]["iou"] is None
    assert evaluation["not_measured"] == ["road"]
    assert evaluation["classes"][1]["false_pixels"] == np.sum(evaluation["confusion"], 0)[1]
    others = [item["iou"] for item in evaluation["classes"] if item["support"]]
    assert evaluation["dataset"]["iou"] == pytest.approx(np.mean(others))
    assert json.loads(paths["metrics"].read_text())["classes_not_measured"] == 1
    assert evaluation["threshold"] is None
    assert evaluation["empty_truth"]["images_without_ground_truth"] == 1
    assert evaluation["intervals"]["iou"] == [None, None]  # one group
    table = capsys.readouterr().out
    assert "nan" not in table
    assert re.search(r"^b +\| +n/a \| +n/a$", table, re.MULTILINE)
    page = paths["evaluation_report"].read_text()
    assert "no interval can be given" in page
    assert "Not measured, because the test set has no true pixels of them: road." in page
    assert "not measured, no true pixels: road" in table
    assert "without any ground truth (every pixel ignored), which count nowhere: 1." in page


def test_a_test_set_of_other_classes_is_refused(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path / "test", scenes(1, STREET, SIZE), STREET)
    code, paths = run(tmp_path, checkpoint, dataset.folder)
    assert code == 3
    assert "classes sky, road, grass, expected those of the model, background, road" in (
        capsys.readouterr().err
    )
    assert not any(path.exists() for path in paths.values())


def test_an_empty_test_set_is_refused(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path / "test", iter([]))
    assert run(tmp_path, checkpoint, dataset.folder)[0] == 3
    assert "no samples, expected at least one" in capsys.readouterr().err


def test_weights_that_give_no_number_are_refused(
    tmp_path: Path, test_set: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_checkpoint(tmp_path / "checkpoint")
    weights = load_file(folder / "weights.safetensors")
    save_file({k: v * float("nan") for k, v in weights.items()}, folder / "weights.safetensors")
    assert run(tmp_path, folder, test_set.folder)[0] == 3
    assert "a probability that is not finite" in capsys.readouterr().err
