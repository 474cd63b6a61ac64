"""Silent and loud failures of Catalyst 22.4 that a run of ours could meet.

Each test holds our remedy and states what stock Catalyst does; `test_stock_failures.py` shows it on
Catalyst itself.
"""

import subprocess
import sys
import warnings

import pytest
import torch
from builders import ROAD, STREET
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from components.train import catalyst_compat as compat
from components.train.configuration.compose import compose_config
from components.train.configuration.config import to_train_config
from components.train.metrics import Counts
from components.train.optimization import is_warming_up, make_optimizer, make_scheduler
from components.train.state.keep_state import advance
from components.train.state.running_state import Progress, load_state
from segmentor.label_map import IGNORE_INDEX
from segmentor.metrics import class_scores, confusion_matrix


def test_stock_engine_still_fails_at_the_end_of_a_loader():
    """AttributeError: TPU. When it no longer does, `_Compat` can go."""
    from catalyst import dl

    with pytest.raises(AttributeError, match="TPU"):
        dl.CPUEngine().mean_reduce_ddp_metrics({"loss": 1.0})
    assert compat.make_engine("cpu").mean_reduce_ddp_metrics({"loss": 1.0}) == {"loss": 1.0}


def test_catalyst_is_imported_without_what_it_does_not_need_here(repository):
    """Two seconds of each start; what was kept away can be imported afterwards."""
    script = (
        "import sys\nfrom components.train import catalyst_compat\n"
        "print([n for n in ('sklearn', 'pandas', 'google.cloud.storage') if n in sys.modules])\n"
        "import matplotlib, pandas"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=repository, check=True
    )
    assert done.stdout.strip() == "[]"


def test_stock_catalyst_does_not_know_todays_schedulers():
    """SupervisedRunner adds no SchedulerCallback for them, and the learning rate stays put."""
    from catalyst.typing import TorchScheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    assert not isinstance(torch.optim.lr_scheduler.StepLR(optimizer, 1), TorchScheduler)


@pytest.mark.parametrize(
    ("scheduler", "falls"),
    [("one_cycle", True), ("cosine", True), ("none", False)],
)
def test_the_scheduler_is_stepped(train, road_data, tmp_path, scheduler, falls):
    train(road_data, tmp_path, "training.epochs=2", f"training.scheduler={scheduler}")
    history = load_state(tmp_path / "checkpoint").progress.history
    rates = [item["learning_rate"] for item in history]
    assert (rates[-1] < 0.0015) == falls


def test_plateau_follows_the_validation_metric(train, road_data, tmp_path):
    train(
        road_data, tmp_path, "training.epochs=4", "training.scheduler=plateau",
        "training.patience=0", "training.metric=loss", "training.learning_rate=1e-5",
    )  # fmt: skip
    history = load_state(tmp_path / "checkpoint").progress.history
    best, rate = float("inf"), 1e-5
    for item in history:
        if item["valid/loss"] < best * (1 - 1e-4):
            best = item["valid/loss"]
        else:
            rate *= 0.1
        assert item["learning_rate"] == pytest.approx(rate)


def test_the_best_weights_are_those_of_the_best_epoch(train, road_data, tmp_path):
    """Stock CheckpointCallback writes the live, i.e. the last, weights to `model.best.pth`."""
    train(road_data, tmp_path / "one", "training.epochs=1", "training.scheduler=none")
    # From the second epoch on the rate destroys the network: the first stays the best.
    train(
        road_data, tmp_path / "two", "training.epochs=3", "training.scheduler=none",
        "training.learning_rate=0.3", resume=tmp_path / "one" / "checkpoint",
    )  # fmt: skip
    two = tmp_path / "two" / "checkpoint"
    state = load_state(two)
    assert state.progress.best_epoch == 1
    best = load_file(two / "weights.safetensors")
    first = load_file(tmp_path / "one" / "checkpoint" / "weights.safetensors")
    assert all(torch.equal(best[name], first[name]) for name in first)
    assert any(not torch.equal(best[name], state.network[name]) for name in first)


def settings_of(*overrides: str):
    return to_train_config(compose_config(overrides))


def test_early_stopping_counts_on_after_a_resume():
    config = settings_of()
    progress = Progress()
    for score, expected in ((0.5, 0), (0.4, 1), (0.3, 2), (0.6, 0), (float("nan"), 1)):
        progress, is_better = advance(progress, {"valid/iou": score, "valid/loss": 1.0}, config)
        progress = Progress.from_json(progress.__dict__)  # as if it had been saved and read
        assert progress.without_better == expected
        assert is_better == (expected == 0)
    assert progress.best_score == 0.6
    assert progress.best_epoch == 4


def test_a_first_epoch_without_a_score_is_replaced_by_any_other():
    config = settings_of("training.metric=loss")
    progress, _ = advance(Progress(), {"valid/loss": float("nan")}, config)
    progress, is_better = advance(progress, {"valid/loss": 9.0}, config)
    assert is_better


def test_where_the_validation_set_has_no_truth_the_loss_decides():
    """Such an IoU is undefined in every epoch: the first one stayed the best, all training lost."""
    config, progress = settings_of(), Progress()
    undefined = float("nan")
    for loss, expected in ((0.6, True), (0.7, False), (0.2, True), (0.3, False)):
        figures = {"valid/iou": undefined, "valid/loss": loss}
        progress, is_better = advance(progress, figures, config)
        assert is_better == expected
    assert progress.best_epoch == 3


def test_early_stopping_ends_the_run(train, road_data, tmp_path):
    train(
        road_data, tmp_path, "training.epochs=8", "training.early_stopping=1",
        "training.learning_rate=1e-12", "training.metric=loss", "training.scheduler=none",
        "processing.augmentation={}",
    )  # fmt: skip
    progress = load_state(tmp_path / "checkpoint").progress
    assert progress.epoch < 8
    assert progress.without_better == 1


@pytest.mark.parametrize("label_map", [ROAD, STREET], ids=["binary", "multiclass"])
def test_the_data_set_iou_does_not_depend_on_the_batch_size(label_map):
    """Stock IOUCallback feeds soft values: logits gave an IoU of -0.34 where the truth was 0.42."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(10, label_map.channels, 8, 12, generator=generator) * 3
    masks = torch.randint(0, len(label_map), (10, 8, 12), generator=generator)
    masks[3] = 0
    masks[5, :4] = IGNORE_INDEX
    loss = torch.tensor(1.0)
    results = []
    for size in (1, 3, 10):
        counts = Counts(label_map, torch.device("cpu"))
        for start in range(0, 10, size):
            counts.add(loss, logits[start : start + size], masks[start : start + size])
        results.append(counts.compute())
    assert results[0] == results[1] == results[2]
    prediction = (logits[:, 0] > 0).long() if label_map.is_binary else logits.argmax(1)
    expected = class_scores(
        confusion_matrix(masks.byte().numpy(), prediction.byte().numpy(), len(label_map))
    )
    iou = expected.iou[1] if label_map.is_binary else expected.mean_iou()
    assert results[0]["iou"] == pytest.approx(float(iou))


def test_an_image_without_ground_truth_does_not_lower_the_loss():
    counts = Counts(ROAD, torch.device("cpu"))
    masks = torch.ones(2, 4, 4, dtype=torch.int64)
    masks[1] = IGNORE_INDEX
    counts.add(torch.tensor(0.8), torch.zeros(2, 1, 4, 4), masks)
    counts.add(torch.tensor(0.0), torch.zeros(1, 1, 4, 4), masks[1:])
    assert counts.compute()["loss"] == pytest.approx(0.8)


def test_gradients_are_clipped():
    """Stock BackwardCallback with a clipping function raises; OptimizerCallback ignores it."""
    network = torch.nn.Linear(4, 1)
    network.weight.grad = torch.full((1, 4), 100.0)

    class Engine:
        @staticmethod
        def backward(loss: torch.Tensor) -> None:
            loss.backward()

    class Runner:
        is_train_loader = True
        engine = Engine()
        model = network
        batch_metrics = {"loss": network(torch.ones(2, 4)).sum()}

    compat.Backward(1.0).on_batch_end(Runner())
    norm = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
    assert float(norm) == pytest.approx(1.0, abs=1e-4)
    assert float(Runner.batch_metrics["gradient_norm"]) > 100


def test_tensorboard_gets_each_epoch_once_after_an_interrupted_run(train, road_data, tmp_path):
    train(road_data, tmp_path / "one", "training.epochs=2", "training.scheduler=none")
    train(
        road_data, tmp_path / "two", "training.epochs=3", "training.scheduler=none",
        resume=tmp_path / "one" / "checkpoint",
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path / "two" / "logs" / "train"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/epoch")] == [3]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_encoder_has_its_own_rate_and_norms_do_not_decay(name):
    network = torch.nn.ModuleDict(
        {"encoder": torch.nn.Conv2d(3, 4, 3), "decoder": torch.nn.Conv2d(4, 1, 3)}
    )
    settings = settings_of(
        f"training.optimizer={name}", "training.learning_rate=0.1",
        "training.encoder_learning_rate=0.1", "training.weight_decay=0.5",
    ).training  # fmt: skip
    optimizer = make_optimizer(network, settings)
    found = {
        (round(g["lr"], 6), g["weight_decay"], len(g["params"])) for g in optimizer.param_groups
    }
    assert found == {(0.1, 0.5, 1), (0.1, 0.0, 1), (0.01, 0.5, 1), (0.01, 0.0, 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_scheduler(optimizer, settings, 1) is not None


def test_the_momentum_of_sgd_is_the_configured_one_under_one_cycle():
    """OneCycleLR puts 0.85 to 0.95 in its place unless it is told not to."""
    settings = settings_of("training.optimizer=sgd", "training.momentum=0.5").training
    optimizer = make_optimizer(torch.nn.Linear(4, 1), settings)
    scheduler = make_scheduler(optimizer, settings, 8)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
        assert {group["momentum"] for group in optimizer.param_groups} == {0.5}


def test_epochs_of_the_warm_up_do_not_count_for_early_stopping():
    parameter = torch.nn.Parameter(torch.zeros(1))
    config = settings_of("training.epochs=8", "training.early_stopping=2")
    optimizer = make_optimizer(torch.nn.ParameterList([parameter]), config.training)
    scheduler = make_scheduler(optimizer, config.training, steps=8 * 5)
    progress, waited = Progress(), []
    for epoch in range(1, 9):
        for _ in range(5):
            optimizer.step()
            scheduler.step()
        is_early = is_warming_up(scheduler)
        assert is_early == (epoch < 2)  # the peak is after a quarter of the epochs
        figures = {"valid/iou": 0.5, "valid/loss": 1.0}
        progress, _ = advance(progress, figures, config, is_early)
        waited.append(progress.without_better)
    assert waited == [0, 1, 2, 3, 4, 5, 6, 7]
    assert not is_warming_up(None)
