"""Training speed: our step's loop beside a plain loop, Lightning and MONAI, in turns.

    pip install -e .[trainer,dev,benchmarks]
    python -m benchmarks.training [--rounds 5] [--batches 8] [--encoder NAME]

Same network, data, batches, augmentation and loss. All loops read from our cache of decoded images:
what Lightning and MONAI would lose by decoding each image in each epoch is not counted.

* `plain`: float32, AdamW; what a first training script looks like.
* `plain, our settings`: bfloat16, channels last, fused AdamW: our settings without our code.
* `Lightning, as SMP's example`: its module, with `smp.metrics.get_stats` and logging in each step.
* `segmentor, float32` and `segmentor`: the Catalyst runner with losses, counts and checks.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import torch
from builders import ROAD, scenes, write_dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.measuring import Spent, start_clock, table, take_turns
from components.train.configuration.compose import compose_config
from components.train.configuration.config import to_train_config
from components.train.loading.loaders import make_loaders
from components.train.losses import SegmentationLoss, default_terms
from components.train.machine import keep_depthwise_float32
from components.train.runner import SegmentationRunner
from components.train.training import Places, make_network, make_run

BATCH = 4
SIZE = (375, 1242)
RATE = 1e-3
PLAIN = "plain (float32)"

# network, loader, what makes pixels of bytes, loss, optimizer -> what an epoch took.
Loop = Callable[..., Spent]


class Comparison:
    """The loops over one data set; each method trains an epoch."""

    def __init__(self, folder: Path, batches: int, encoder: str) -> None:
        self.folder = folder
        self.train = write_dataset(folder / "train", scenes(BATCH * batches, ROAD, SIZE))
        self.val = write_dataset(folder / "val", scenes(1, ROAD, SIZE, first_seed=900))
        common = ["processing=road", f"training.batch_size={BATCH}", "training.overlays=0"]
        common.append(f"model.encoder={encoder}")
        self.ours = to_train_config(compose_config(common))
        self.full = to_train_config(compose_config([*common, "training.precision=fp32"]))
        self.loss = SegmentationLoss(default_terms(True), True)
        self.epoch = 0

    def other(self, loop: Loop, fused: bool = False) -> Spent:
        """A loop that is not ours, with a new network and the next epoch's batches."""
        _, network, spec = make_network(self.full, self.train, "cpu", is_resumed=True)
        loaders = make_loaders(self.full, self.train, self.val, spec, self.folder, "cpu")
        self.epoch += 1
        loaders.sampler.start(self.epoch)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (spec.mean, spec.std))
        network = network.to(memory_format=torch.contiguous_format).train()
        optimizer = torch.optim.AdamW(network.parameters(), RATE, fused=fused)
        return loop(
            network,
            loaders.by_key["train"],
            lambda image: (image.float() - mean) / std,
            self.loss,
            optimizer,
        )

    def segmentor(self, config) -> Spent:
        """Ours."""
        _, network, spec = make_network(config, self.train, "cpu", is_resumed=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as state:
            places = Places(Path(state), Path(state) / "logs", self.folder)
            run = make_run(config, (self.train, self.val), network, spec, places, "", None)
            runner = Once(run)
            runner.images = len(self.train)
            runner.run()
        return runner.spent


class Once(SegmentationRunner):
    """The real loop, for one epoch of the schedule; `spent` is that of the training loader."""

    def on_epoch_start(self, runner) -> None:
        """Start the clock."""
        super().on_epoch_start(runner)
        self.stop = start_clock()

    def on_loader_end(self, runner) -> None:
        """Stop it at the end of training."""
        super().on_loader_end(runner)
        if self.is_train_loader:
            self.spent = self.stop(self.images)

    @property
    def num_epochs(self) -> int:
        """One."""
        return 1


def plain(
    network: nn.Module,
    loader: DataLoader,
    normalise: Callable[[Tensor], Tensor],
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    is_fast: bool = False,
) -> Spent:
    """A first training script; `is_fast`: with our precision and memory order."""
    order = torch.channels_last if is_fast else torch.contiguous_format
    network.to(memory_format=order)
    if is_fast:
        keep_depthwise_float32(network)
    stop = start_clock()
    for batch in loader:
        pixels = normalise(batch["image"]).contiguous(memory_format=order)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_fast):
            logits = network(pixels)
        value = loss(logits.float(), batch["mask"])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return stop(len(loader.dataset))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--encoder", default="tu-test_resnet", help="of the preset `tiny`")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(Path(folder), arguments.batches, arguments.encoder)
        loops: dict[str, Callable[[], Spent]] = {PLAIN: partial(comparison.other, plain)}
        if find_spec("lightning"):
            from benchmarks.peers import lightning_loop

            loops["Lightning, as SMP's example"] = partial(comparison.other, lightning_loop.train)
        if find_spec("monai") and find_spec("ignite"):
            from benchmarks.peers import monai_loop

            loops["MONAI"] = partial(comparison.other, monai_loop.train)
        fast = partial(plain, is_fast=True)
        loops["plain, our settings"] = partial(comparison.other, fast, fused=True)
        loops["segmentor, float32"] = partial(comparison.segmentor, comparison.full)
        loops["segmentor"] = partial(comparison.segmentor, comparison.ours)
        # The first round builds kernels.
        turns = take_turns(loops, arguments.rounds, warm_up=True)
    print(f"{arguments.encoder}, {torch.get_num_threads()} threads, batches of {BATCH}\n")
    print(table(turns, [PLAIN], "image"))


if __name__ == "__main__":
    main()
