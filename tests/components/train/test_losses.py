"""Losses: what ignored pixels, empty masks and class weights do to them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train import losses
from components.train.__main__ import main
from components.train.losses import SegmentationLoss, default_terms, losses_for
from segmentor.errors import ConfigError
from segmentor.label_map import IGNORE_INDEX

EXTENDING = Path(__file__).parents[3] / "docs/extending.md"
CASES = [(name, kind == "binary") for kind in losses.BOTH for name in losses_for(kind)]


def batch(is_binary: bool, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    classes = 2 if is_binary else 3
    logits = torch.randn(2, 1 if is_binary else 3, 8, 12, generator=generator)
    return logits, torch.randint(0, classes, (2, 8, 12), generator=generator)


@pytest.mark.parametrize(("name", "is_binary"), CASES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_ignored_pixels_change_no_loss(name, is_binary, seed):
    logits, mask = batch(is_binary, seed)
    loss = SegmentationLoss({name: 1.0}, is_binary)
    kept = loss(logits[:, :, :, :9], mask[:, :, :9])
    logits[:, :, :, 9:] = torch.randn(logits[:, :, :, 9:].shape) * 10
    mask[:, :, 9:] = IGNORE_INDEX
    assert float(loss(logits, mask)) == pytest.approx(float(kept), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("name", "is_binary"), CASES)
def test_a_batch_without_any_truth_has_no_loss_and_no_nan(name, is_binary):
    logits, mask = batch(is_binary)
    logits.requires_grad_()
    loss = SegmentationLoss({name: 1.0}, is_binary)(logits, torch.full_like(mask, IGNORE_INDEX))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(logits.grad.abs().max()) == 0


@pytest.mark.parametrize(("name", "is_binary"), CASES)
def test_a_right_prediction_costs_less_than_a_wrong_one(name, is_binary):
    _, mask = batch(is_binary)
    onehot = torch.nn.functional.one_hot(mask, 3).permute(0, 3, 1, 2).float()
    right = (mask.float() * 2 - 1).unsqueeze(1) * 8 if is_binary else onehot * 16 - 8
    loss = SegmentationLoss({name: 1.0}, is_binary)
    assert float(loss(right, mask)) < 0.1 < float(loss(-right, mask))


def test_dice_alone_does_not_see_false_positives_on_an_empty_mask_and_the_default_does():
    logits, mask = torch.full((1, 1, 8, 8), 5.0), torch.zeros(1, 8, 8, dtype=torch.long)
    assert float(SegmentationLoss({"dice": 1.0}, True)(logits, mask)) == 0
    assert float(SegmentationLoss(default_terms(True), True)(logits, mask)) > 1


def test_the_sum_is_weighted():
    logits, mask = batch(True)
    value = lambda terms: float(SegmentationLoss(terms, True)(logits, mask))  # noqa: E731
    both = value({"dice": 0.5, "bce": 2.0})
    assert both == pytest.approx(0.5 * value({"dice": 1.0}) + 2 * value({"bce": 1.0}), rel=1e-5)


def test_class_weights_shift_the_loss_to_the_heavy_class():
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 0] = 3  # says class 0 everywhere
    mask = torch.zeros(1, 4, 4, dtype=torch.long)
    mask[0, 0] = 2
    value = lambda w: float(SegmentationLoss({"cross_entropy": 1.0}, False, w)(logits, mask))  # noqa: E731
    assert value([1.0, 1.0, 10.0]) > value([1.0, 1.0, 1.0]) > value([1.0, 1.0, 0.1])


@pytest.mark.parametrize("terms", [{}, {"dise": 1.0}, {"cross_entropy": 1.0}])
def test_terms_that_make_no_loss_are_refused(terms):
    with pytest.raises(ConfigError, match=r"training\.loss"):
        SegmentationLoss(terms, True)


def test_the_recipe_of_a_new_loss_is_all_that_it_takes(monkeypatch, road_data, tmp_path, caplog):
    text = EXTENDING.read_text(encoding="utf-8").partition("## A loss")[2]
    code = text.partition("```python")[2].partition("```")[0]
    monkeypatch.setattr(losses, "LOSSES", dict(losses.LOSSES))
    exec(code, vars(losses))  # as if it stood in that file
    monkeypatch.delattr(losses, "_absolute_difference")
    flags = [f"--{name}={tmp_path / name}" for name in ("checkpoint", "metrics", "logs")]
    flags += [f"--train={road_data / 'train'}", f"--val={road_data / 'val'}"]
    flags += [f"--training-report={tmp_path / 'report.html'}", "processing.size=[32,64]"]
    assert main([*flags, "training.epochs=1", "training.loss={absolute_difference: 1}"]) == 0
    wrong = ["training.loss={absolute_difference: 1}", "training.class_weights=balanced"]
    assert main([*flags, *wrong]) == 3  # it takes no class weights
