import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segmentation_models_pytorch import metrics as smp_metrics
from torchmetrics.functional import segmentation
from torchmetrics.functional.classification import multiclass_confusion_matrix

from segmentor.label_map import IGNORE_INDEX
from segmentor.metrics import class_scores, confusion_matrix, dataset_iou, soft_dice_loss

CLASSES = 4


def random_masks(seed: int, ignored: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, CLASSES, (13, 17), dtype=np.uint8)
    noise = generator.random(truth.shape)
    prediction = np.where(noise < 0.6, truth, generator.integers(0, CLASSES, truth.shape))
    truth[generator.random(truth.shape) < ignored] = IGNORE_INDEX
    return truth, prediction.astype(np.uint8)


@given(seed=st.integers(0, 10_000))
def test_confusion_matrix_equals_that_of_torchmetrics(seed: int) -> None:
    truth, prediction = random_masks(seed)
    expected = multiclass_confusion_matrix(
        torch.from_numpy(prediction).long(),
        torch.from_numpy(truth).long(),
        CLASSES,
        ignore_index=IGNORE_INDEX,
    )
    assert np.array_equal(confusion_matrix(truth, prediction, CLASSES), expected.numpy())


def test_scores_equal_those_of_smp() -> None:
    truth, prediction = random_masks(3, ignored=0)
    counts = smp_metrics.get_stats(
        torch.from_numpy(prediction[None]).long(),
        torch.from_numpy(truth[None]).long(),
        mode="multiclass",
        num_classes=CLASSES,
    )
    scores = class_scores(confusion_matrix(truth, prediction, CLASSES))
    assert scores.iou == pytest.approx(smp_metrics.iou_score(*counts)[0].numpy(), abs=1e-6)
    assert scores.dice == pytest.approx(smp_metrics.f1_score(*counts)[0].numpy(), abs=1e-6)
    assert scores.precision == pytest.approx(smp_metrics.precision(*counts)[0].numpy(), abs=1e-6)
    assert scores.recall == pytest.approx(smp_metrics.recall(*counts)[0].numpy(), abs=1e-6)


def test_mean_iou_equals_that_of_torchmetrics_when_every_class_occurs() -> None:
    truth, prediction = random_masks(5, ignored=0)
    expected = segmentation.mean_iou(
        torch.from_numpy(prediction[None]).long(),
        torch.from_numpy(truth[None]).long(),
        num_classes=CLASSES,
        input_format="index",
    )
    scores = class_scores(confusion_matrix(truth, prediction, CLASSES))
    assert scores.mean_iou() == pytest.approx(float(expected), abs=1e-6)


@given(seed=st.integers(0, 10_000), order=st.permutations(range(CLASSES)))
def test_scores_follow_a_renaming_of_the_classes(seed: int, order: list[int]) -> None:
    truth, prediction = random_masks(seed)
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[:CLASSES] = order
    before = class_scores(confusion_matrix(truth, prediction, CLASSES))
    after = class_scores(confusion_matrix(table[truth], table[prediction], CLASSES))
    assert np.array_equal(after.iou[list(order)], before.iou, equal_nan=True)


def test_ignored_pixels_do_not_count() -> None:
    truth = np.array([[0, 1, IGNORE_INDEX, IGNORE_INDEX]], np.uint8)
    prediction = np.array([[0, 1, 0, 1]], np.uint8)
    assert confusion_matrix(truth, prediction, 2).tolist() == [[1, 0], [0, 1]]


def test_a_class_that_never_occurs_is_undefined_and_left_out_of_the_mean() -> None:
    scores = class_scores(np.array([[4, 0, 0], [2, 2, 0], [0, 0, 0]]))
    assert np.isnan(scores.iou[2])
    assert scores.mean_iou() == pytest.approx((4 / 6 + 2 / 4) / 2)


def test_a_class_that_is_only_predicted_is_not_measured_and_costs_those_it_covers() -> None:
    scores = class_scores(np.array([[3, 1], [0, 0]]))
    undefined = (scores.iou, scores.dice, scores.precision, scores.recall)
    assert [bool(np.isnan(values[1])) for values in undefined] == [True] * 4
    assert scores.false_pixels.tolist() == [0, 1]
    assert scores.mean_iou() == scores.iou[0] == 3 / 4


@given(seed=st.integers(0, 10_000), absent=st.integers(0, CLASSES - 1))
def test_the_mean_is_that_of_torchmetrics_over_the_classes_with_truth(
    seed: int, absent: int
) -> None:
    truth, prediction = random_masks(seed, ignored=0)
    truth[truth == absent] = (absent + 1) % CLASSES
    per_class = segmentation.mean_iou(
        torch.from_numpy(prediction[None]).long(),
        torch.from_numpy(truth[None]).long(),
        num_classes=CLASSES,
        input_format="index",
        per_class=True,
    )[0]
    supported = np.isin(np.arange(CLASSES), truth)
    expected = per_class.numpy()[supported].mean()
    confusion = confusion_matrix(truth, prediction, CLASSES)
    assert class_scores(confusion).mean_iou() == pytest.approx(float(expected), abs=1e-6)
    assert dataset_iou(confusion, is_binary=False) == pytest.approx(float(expected), abs=1e-6)


def test_a_binary_set_without_foreground_has_no_iou() -> None:
    assert np.isnan(dataset_iou(np.array([[5, 3], [0, 0]]), is_binary=True))


def test_dataset_iou_is_that_of_class_1_when_binary() -> None:
    confusion = np.array([[6, 2], [1, 3]])
    assert dataset_iou(confusion, is_binary=True) == 3 / 6
    assert dataset_iou(confusion, is_binary=False) == pytest.approx((6 / 9 + 3 / 6) / 2)


def test_soft_dice_loss_is_that_of_the_original() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # smp.utils is deprecated: it is what the original used
        from segmentation_models_pytorch.utils.losses import DiceLoss
    generator = np.random.default_rng(1)
    probability = generator.random((9, 11), dtype=np.float32)
    truth = generator.random((9, 11)) < 0.3
    expected = DiceLoss()(torch.from_numpy(probability), torch.from_numpy(truth).float())
    valid = np.ones_like(truth)
    assert soft_dice_loss(probability, truth, valid) == pytest.approx(float(expected), abs=1e-6)
