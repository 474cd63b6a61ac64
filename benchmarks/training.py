"""Training speed: our step's loop beside a plain loop, Lightning and MONAI, paired in one run.

    pip install -e .[trainer,dev,benchmarks]
    python benchmarks/training.py [--rounds 5] [--batches 8] [--encoder NAME]

Same network, data, batches, augmentation and loss; each round runs every loop once, in turn, so
that another process on the machine disturbs all of them alike. Ratios are paired within a round;
figures are medians over the rounds. All loops read from our cache of decoded images: what Lightning
and MONAI would lose by decoding each image in each epoch is not counted.

Wall seconds say what a user waits; CPU seconds hardly depend on what else the machine does.

* `plain`: float32, AdamW; what a first training script looks like.
* `Lightning, as SMP's example`: its module, with `smp.metrics.get_stats` and logging in each step.
* `MONAI`: `monai.engines.SupervisedTrainer`.
* `plain, our settings`: bfloat16, channels last, fused AdamW: our settings without our code.
* `segmentor, float32` and `segmentor`: the Catalyst runner with losses, counts and checks.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in ("", "tests")]

import torch  # noqa: E402
from builders import ROAD, scenes, write_dataset  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from components.train.compose import compose_config  # noqa: E402
from components.train.config import to_train_config  # noqa: E402
from components.train.loaders import make_loaders  # noqa: E402
from components.train.losses import SegmentationLoss, default_terms  # noqa: E402
from components.train.precision import keep_depthwise_float32  # noqa: E402
from components.train.runner import SegmentationRunner  # noqa: E402
from components.train.training import Places, make_network, make_run  # noqa: E402

BATCH = 4
SIZE = (128, 416)
RATE = 1e-3

# Seconds of wall clock and of CPU time.
Spent = tuple[float, float]


def now() -> Spent:
    """The two clocks."""
    return time.perf_counter(), time.process_time()


def since(start: Spent) -> Spent:
    """What has passed on both."""
    wall, cpu = now()
    return wall - start[0], cpu - start[1]


class Comparison:
    """The loops over one data set; each method trains the batches once and returns seconds."""

    def __init__(self, folder: Path, batches: int, encoder: str) -> None:
        self.folder = folder
        self.train = write_dataset(folder / "train", scenes(BATCH * batches, ROAD, (375, 1242)))
        self.val = write_dataset(folder / "val", scenes(1, ROAD, (375, 1242), first_seed=900))
        common = ["processing=road", f"training.batch_size={BATCH}", "training.overlays=0"]
        common.append(f"model.encoder={encoder}")
        self.ours = to_train_config(compose_config(common))
        self.full = to_train_config(compose_config([*common, "training.precision=fp32"]))
        self.loss = SegmentationLoss(default_terms(True), True)
        self.epoch = 0

    def plain(self) -> Spent:
        """A first training script."""
        return self._plain(is_fast=False)

    def plain_fast(self) -> Spent:
        """A plain loop with our precision, memory order and optimizer."""
        return self._plain(is_fast=True)

    def lightning(self) -> Spent:
        """Lightning and SMP, as SMP's example shows."""
        from benchmarks.peers.lightning_loop import train

        network, loader, normalise = self._parts()
        optimizer = torch.optim.AdamW(network.parameters(), RATE)
        return train(network, loader, normalise, self.loss, optimizer, now, since)

    def monai(self) -> Spent:
        """MONAI's trainer."""
        from monai.engines import SupervisedTrainer

        network, loader, normalise = self._parts()
        trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=loader,
            network=network,
            optimizer=torch.optim.AdamW(network.parameters(), RATE),
            loss_function=self.loss,
            prepare_batch=lambda batch, *_, **__: (normalise(batch["image"]), batch["mask"]),
        )
        start = now()
        trainer.run()
        return since(start)

    def segmentor(self) -> Spent:
        """Ours, as it is."""
        return self._segmentor(self.ours)

    def segmentor_fp32(self) -> Spent:
        """Ours in float32."""
        return self._segmentor(self.full)

    def _plain(self, is_fast: bool) -> Spent:
        network, loader, normalise = self._parts()
        order = torch.channels_last if is_fast else torch.contiguous_format
        network = network.to(memory_format=order)
        if is_fast:
            keep_depthwise_float32(network)
        optimizer = torch.optim.AdamW(network.parameters(), RATE, fused=is_fast)
        start = now()
        for batch in loader:
            pixels = normalise(batch["image"]).contiguous(memory_format=order)
            with torch.autocast("cpu", torch.bfloat16, enabled=is_fast):
                logits = network(pixels)
            loss = self.loss(logits.float(), batch["mask"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return since(start)

    def _parts(self) -> tuple[nn.Module, DataLoader, Callable[[Tensor], Tensor]]:
        """A new network in contiguous memory, the loader, and what makes pixels of bytes."""
        _, network, spec = make_network(self.full, self.train, "cpu", is_resumed=True)
        loaders = make_loaders(self.full, self.train, self.val, spec, self.folder, "cpu")
        self.epoch += 1
        loaders.sampler.start(self.epoch)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (spec.mean, spec.std))
        network = network.to(memory_format=torch.contiguous_format).train()
        return network, loaders.by_key["train"], lambda image: (image.float() - mean) / std

    def _segmentor(self, config) -> Spent:
        _, network, spec = make_network(config, self.train, "cpu", is_resumed=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as state:
            places = Places(Path(state), Path(state) / "logs", self.folder)
            run = make_run(config, (self.train, self.val), network, spec, places, "", None)
            runner = Once(run)
            runner.run()
        return runner.spent


class Once(SegmentationRunner):
    """The real loop, for one epoch of the schedule; `spent` is that of the training loader."""

    spent: Spent = (0.0, 0.0)

    def on_epoch_start(self, runner) -> None:
        """Starts the clock."""
        super().on_epoch_start(runner)
        self.start = now()

    def on_loader_end(self, runner) -> None:
        """Stops it at the end of training."""
        super().on_loader_end(runner)
        if self.is_train_loader:
            self.spent = since(self.start)

    @property
    def num_epochs(self) -> int:
        """One."""
        return 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--encoder", default="tu-test_resnet", help="of the preset `tiny`")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(Path(folder), arguments.batches, arguments.encoder)
        loops: dict[str, Callable[[], Spent]] = {"plain (float32)": comparison.plain}
        if find_spec("lightning"):
            loops["Lightning, as SMP's example"] = comparison.lightning
        if find_spec("monai") and find_spec("ignite"):
            loops["MONAI"] = comparison.monai
        loops |= {
            "segmentor, float32": comparison.segmentor_fp32,
            "plain, our settings": comparison.plain_fast,
            "segmentor": comparison.segmentor,
        }
        seconds: dict[str, list[Spent]] = {name: [] for name in loops}
        for turn in range(arguments.rounds + 1):
            for name, loop in loops.items():
                spent = loop()
                if turn:  # the first round builds kernels
                    seconds[name].append(spent)
    report(seconds, arguments.batches * BATCH, arguments.encoder)


def report(seconds: dict[str, list[Spent]], images: int, encoder: str) -> None:
    base = seconds["plain (float32)"]
    print(
        f"{encoder}, {torch.get_num_threads()} threads, batches of {BATCH} at "
        f"{SIZE[0]} x {SIZE[1]}; medians of {len(base)} rounds\n"
    )
    print("| loop | images/s | of plain | CPU s/image | of plain (CPU) |\n|---|---|---|---|---|")
    for name, values in seconds.items():
        figures = []
        for clock in (0, 1):
            ratio = statistics.median(
                b[clock] / v[clock] for b, v in zip(base, values, strict=True)
            )
            figures += [statistics.median(v[clock] for v in values) / images, ratio]
        wall, wall_ratio, cpu, cpu_ratio = figures
        print(f"| {name} | {1 / wall:.1f} | {wall_ratio:.2f} | {cpu:.3f} | {cpu_ratio:.2f} |")


if __name__ == "__main__":
    main()
