"""What the training report says before its figures are believed."""

import pytest
from torch import nn

from components.train.configuration.compose import compose_config
from components.train.configuration.config import to_train_config
from components.train.state.running_state import Progress
from components.train.training import Trained
from components.train.training_report import notices
from segmentor.contract import InputSpec
from segmentor.nn.network import NetworkConfig


def stopped(*overrides: str) -> list[tuple[str, str]]:
    """The notices of a run that ended in epoch 5 of 20, after the best one, the third."""
    config = to_train_config(
        compose_config(["training.epochs=20", "training.early_stopping=2", *overrides])
    )
    history = [
        {"epoch": epoch, "train/iou": 0.8, "valid/iou": 0.8 if epoch == 3 else 0.7}
        for epoch in range(1, 6)
    ]
    progress = Progress(5, best_epoch=3, best_score=0.8, without_better=2, history=history)
    network = NetworkConfig("unet", "tu-test_resnet")
    spec = InputSpec((64, 96))
    return notices(Trained(nn.Identity(), network, spec, progress, [], False, "cpu"), config)


@pytest.mark.parametrize("scheduler", ["plateau", "cosine", "none"])
def test_early_stopping_is_told(scheduler):
    [(kind, text)] = stopped(f"training.scheduler={scheduler}")
    assert kind == "good"
    assert text == "Early stopping ended it at epoch 5 of 20: 2 epochs without a better IoU on val."


def test_early_stopping_before_the_rates_of_one_cycle_fell_is_a_warning():
    [(kind, text)] = stopped()
    assert kind == "warning"
    assert "set training.scheduler=plateau" in text
