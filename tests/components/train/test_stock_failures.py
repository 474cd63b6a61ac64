"""What Catalyst 22.4 and Albumentations 2.0.8, as released, do wrong without a word.

Each test shows one silent failure on the library itself, and names the test that holds our remedy.
One that fails tells of a release that mended it: then the remedy can go.

The network is one number, and the loss is its distance from 10: each epoch adds 1 to it. On the
validation set the truth is 1, so the first epoch is the best.
"""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import albumentations
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # distutils' versions
    from catalyst import dl, metrics

pytestmark = [
    # "No optimizer/scheduler callback": the one word that Catalyst says of the second test.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Number(torch.nn.Module):
    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor([value]))

    def forward(self, ones):
        return self.value * ones


class Engine(dl.CPUEngine):
    """Without the loud failure (`AttributeError: TPU`), which would hide the silent ones."""

    def mean_reduce_ddp_metrics(self, metrics):
        return metrics


def train(epochs: int, model: Number | None = None, **options) -> Number:
    """Train with stock Catalyst; return the model after the last epoch."""
    model = model or Number()
    ones = torch.ones(1, 1)
    loaders = {
        "train": DataLoader(TensorDataset(ones, ones * 10)),
        "valid": DataLoader(TensorDataset(ones, ones)),
    }
    options.setdefault("optimizer", torch.optim.SGD(model.parameters(), lr=1.0))
    dl.SupervisedRunner().train(
        model=model, engine=Engine(), criterion=torch.nn.L1Loss(), loaders=loaders,
        num_epochs=epochs, valid_loader="valid", valid_metric="loss", minimize_valid_metric=True,
        **options,
    )  # fmt: skip
    return model


def checkpoints(folder: Path, mode: str, **options) -> dl.CheckpointCallback:
    return dl.CheckpointCallback(
        str(folder), loader_key="valid", metric_key="loss", minimize=True, mode=mode, **options
    )


def test_a_scheduler_is_never_stepped():
    """Ours: test_catalyst_compat.py::test_the_scheduler_is_stepped."""
    model = Number()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    train(3, model, optimizer=optimizer, scheduler=scheduler)
    assert optimizer.param_groups[0]["lr"] == 1.0
    assert float(model.value.detach()) == 3.0


def test_the_best_checkpoint_holds_the_last_epoch(tmp_path):
    """Ours: test_catalyst_compat.py::test_the_best_weights_are_those_of_the_best_epoch."""
    train(2, callbacks=[checkpoints(tmp_path, "model")])
    best = torch.load(tmp_path / "model.best.pth", weights_only=True)
    assert float(best["value"]) == 2.0  # of the second epoch; the first was better


def test_resume_is_ignored(tmp_path):
    """Ours: test_resume.py."""
    train(2, callbacks=[checkpoints(tmp_path, "runner")])
    again = train(2, Number(100.0), resume=str(tmp_path / "runner.last.pth"))
    assert float(again.value.detach()) == 98.0  # anew; resumed, nothing was left to do at 2


def test_the_best_score_is_forgotten_by_a_resume(tmp_path):
    """Ours: test_catalyst_compat.py::test_early_stopping_counts_on_after_a_resume."""
    train(1, callbacks=[checkpoints(tmp_path, "runner")])
    assert best_score(tmp_path) == 0.0
    resumed = checkpoints(tmp_path, "runner", resume_runner=str(tmp_path / "runner.last.pth"))
    train(2, callbacks=[resumed])
    assert best_score(tmp_path) > 0.5  # a worse epoch took the place of the best


def best_score(folder: Path) -> float:
    return json.loads((folder / "runner.storage.json").read_text())["storage"][0]["metric"]


def test_iou_counts_soft_values_of_logits():
    """Ours: test_catalyst_compat.py::test_the_data_set_iou_does_not_depend_on_the_batch_size."""
    truth = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    logits = torch.tensor([[[[2.0, -2.0], [-2.0, -2.0]]]])  # one of two pixels found: IoU 0.5
    metric = metrics.IOUMetric()
    metric.update(logits, truth)
    found = metric.compute_key_value()["iou"]
    assert abs(float(found) - 0.5) > 0.2


def test_gradients_are_not_clipped():
    """Ours: test_catalyst_compat.py::test_gradients_are_clipped."""
    clipping = dl.OptimizerCallback(
        metric_key="loss",
        grad_clip_fn=torch.nn.utils.clip_grad_norm_,
        grad_clip_params={"max_norm": 0.1},
    )
    model = train(1, callbacks=[clipping])
    assert float(model.value.detach()) == 1.0  # clipped, it would be 0.1


ALONE = """
import warnings
import torch
from torch.utils.data import DataLoader, TensorDataset
warnings.simplefilter("ignore")
from catalyst import dl

class Engine(dl.DistributedDataParallelEngine):
    def mean_reduce_ddp_metrics(self, metrics):
        return metrics

class Tell(dl.Callback):
    def on_experiment_start(self, runner):
        print(f"rank {runner.engine.process_index} of {runner.engine.num_processes}", flush=True)

if __name__ == "__main__":
    ones, model = torch.ones(4, 1), torch.nn.Linear(1, 1)
    dl.SupervisedRunner().train(
        model=model, engine=Engine(cpu=True, process_group_kwargs={"backend": "gloo"}),
        criterion=torch.nn.L1Loss(), optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        loaders={"train": DataLoader(TensorDataset(ones, ones))}, callbacks=[Tell(order=0)],
    )
"""


@pytest.mark.slow
def test_two_processes_of_torchrun_train_alone(tmp_path):
    """Ours: test_processes.py::test_two_processes_agree_with_one."""
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", str(script),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [line for line in done.stdout.splitlines() if line.startswith("rank")]
    assert told == ["rank 0 of 1", "rank 0 of 1"], done.stderr[-2000:]


class Bright(Dataset):
    def __init__(self) -> None:
        transform = albumentations.RandomBrightnessContrast(p=1, brightness_limit=0.9)
        self.transform = albumentations.Compose([transform], seed=0)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        image = np.full((8, 8, 3), 120, np.uint8)
        return float(self.transform(image=image)["image"].mean())


def test_workers_and_epochs_repeat_one_anothers_augmentation():
    """Ours: test_samples.py, of `Augmentation` and `TorchSamples`."""
    loader = DataLoader(Bright(), batch_size=1, num_workers=2)
    first, second = ([float(value) for value in loader] for _ in range(2))
    assert first[0] == first[1] != first[2]  # two workers, the same sequence
    assert first == second  # and the same again in the next epoch
