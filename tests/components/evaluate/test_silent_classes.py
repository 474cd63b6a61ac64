"""Classes that are never predicted, and images that are rightly empty, are said."""

import json
from pathlib import Path

import numpy as np
import pytest
from builders import ROAD, STREET, scenes, write_checkpoint, write_dataset
from safetensors.torch import load_file, save_file

from components.evaluate.__main__ import main
from components.evaluate.scoring import score_image
from components.export.model_card import lost_classes
from segmentor.contract import InputSpec, ModelContract

CONTRACT = ModelContract(ROAD, InputSpec((32, 32)))


@pytest.fixture(scope="module")
def always_sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that calls every pixel sky."""
    folder = write_checkpoint(tmp_path_factory.mktemp("train") / "checkpoint", STREET, steps=0)
    weights = load_file(folder / "weights.safetensors")
    weights["segmentation_head.0.bias"][:] = weights["segmentation_head.0.bias"].new_tensor(
        [50.0, -50.0, -50.0]
    )
    save_file(weights, folder / "weights.safetensors")
    return folder


def test_classes_that_are_never_predicted_are_warned_of(always_sky, tmp_path, capsys):
    test = write_dataset(tmp_path / "test", scenes(4, STREET), STREET)
    outputs = ("evaluation", "metrics", "confusion", "evaluation-report")
    flags = [f"--{name}={tmp_path / name}" for name in outputs]
    assert main([*flags, f"--checkpoint={always_sky}", f"--test={test.folder}"]) == 0
    evaluation = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert evaluation["never_predicted"] == ["road", "grass"]
    assert json.loads((tmp_path / "metrics").read_text())["classes_never_predicted"] == 2
    assert "never predicted, iou 0: road, grass" in capsys.readouterr().out
    page = (tmp_path / "evaluation-report").read_text()
    assert "Never predicted, so IoU 0: road (" in page


def test_the_model_card_names_them_and_not_those_without_truth():
    confusion = np.array([[5, 0, 0, 1], [3, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 4]])
    assert lost_classes(("sky", "road", "tree", "car"), confusion) == ["road"]


@pytest.mark.parametrize(("probability", "iou", "has_dice"), [(0.02, 1.0, False), (0.9, 0.0, True)])
def test_an_image_that_is_rightly_empty_has_no_dice_loss(probability, iou, has_dice):
    truth = np.zeros((32, 32), np.uint8)
    plane = np.full((1, 32, 32), probability, np.float32)
    mask = (plane[0] > 0.5).astype(np.uint8)
    pixels = np.zeros((32, 32, 3), np.uint8)
    scores = score_image("a", "g", pixels, truth, mask, plane, CONTRACT)
    assert scores.iou_score == iou
    assert np.isnan(scores.dice_loss) != has_dice
