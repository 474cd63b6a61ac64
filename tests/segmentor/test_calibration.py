import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from segmentor.calibration import (
    BINS,
    count_confidence,
    expected_calibration_error,
    reliability,
)
from segmentor.contract import InputSpec, ModelContract
from segmentor.label_map import IGNORE_INDEX, LabelMap

SIZE = (32, 64)
BINARY = ModelContract(LabelMap.of(["background", "road"]), InputSpec(SIZE))
SEVERAL = ModelContract(LabelMap.of(["sky", "road", "car"]), InputSpec(SIZE))


def test_ece_of_a_binary_model_equals_that_of_torchmetrics() -> None:
    generator = np.random.default_rng(0)
    probability = generator.random((1, *SIZE), dtype=np.float32)
    truth = (generator.random(SIZE) < probability[0] ** 2).astype(np.uint8)
    truth[:3] = IGNORE_INDEX
    counts = count_confidence(probability, truth, (probability[0] > 0.5).astype(np.uint8), BINARY)
    expected = binary_calibration_error(
        torch.from_numpy(probability[0][3:]).flatten(),
        torch.from_numpy(truth[3:]).flatten().long(),
        n_bins=BINS,
    )
    assert expected_calibration_error(counts) == pytest.approx(float(expected), abs=1e-5)


def test_ece_of_several_classes_equals_that_of_torchmetrics() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 2, (3, *SIZE))
    probability = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    prediction = probability.argmax(axis=0).astype(np.uint8)
    truth = np.where(generator.random(SIZE) < 0.7, prediction, 1).astype(np.uint8)
    expected = multiclass_calibration_error(
        torch.from_numpy(probability[None]),
        torch.from_numpy(truth[None]).long(),
        num_classes=3,
        n_bins=BINS,
    )
    counts = count_confidence(probability, truth, prediction, SEVERAL)
    assert expected_calibration_error(counts) == pytest.approx(float(expected), abs=1e-5)


def test_a_model_that_knows_has_no_error_and_empty_bins_are_undefined() -> None:
    truth = np.array([[0, 1]], np.uint8)
    counts = count_confidence(truth[None].astype(np.float32), truth, truth, BINARY)
    confidence, right = reliability(counts)
    assert expected_calibration_error(counts) == 0
    assert right[[0, -1]].tolist() == [0, 1]
    assert np.isnan(confidence[1:-1]).all()


def test_without_ground_truth_there_is_no_error_to_speak_of() -> None:
    truth = np.full((1, 2), IGNORE_INDEX, np.uint8)
    counts = count_confidence(np.zeros((1, 1, 2), np.float32), truth, truth, BINARY)
    assert np.isnan(expected_calibration_error(counts))
