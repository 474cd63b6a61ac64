"""Training speed: our step's loop beside plain PyTorch loops, paired in one run.

    python benchmarks/training.py [--rounds 5] [--batches 8]

Same network, data, batch size and augmentation; each round runs every loop once, in turn, so that
another process on the machine disturbs all of them alike. Figures are medians over the rounds.

Wall seconds say what a user waits; seconds of CPU time hardly depend on what else the machine does,
most of all with OMP_NUM_THREADS=1.

* `plain`: float32, DataLoader, AdamW; what a first training script looks like.
* `as SMP's example`: the same with a metric in each step (smp.metrics.get_stats), as the Lightning
  module of segmentation-models-pytorch's example does; without Lightning's own cost.
* `plain, our precision`: bfloat16, channels last, fused AdamW: our settings without our code.
* `segmentor`: the Catalyst runner with losses, counts and checks.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in ("", "tests")]

import segmentation_models_pytorch as smp  # noqa: E402
import torch  # noqa: E402
from builders import ROAD, scenes, write_dataset  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from components.train.compose import compose_config  # noqa: E402
from components.train.config import to_train_config  # noqa: E402
from components.train.loaders import make_loaders  # noqa: E402
from components.train.losses import SegmentationLoss, default_terms  # noqa: E402
from components.train.runner import SegmentationRunner  # noqa: E402
from components.train.training import Places, make_network, make_run  # noqa: E402

BATCH = 4
SIZE = (128, 416)


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

    def __init__(self, folder: Path, batches: int) -> None:
        self.folder, self.batches = folder, batches
        self.train = write_dataset(folder / "train", scenes(BATCH * batches, ROAD, (375, 1242)))
        self.val = write_dataset(folder / "val", scenes(1, ROAD, (375, 1242), first_seed=900))
        overrides = ["processing=road", f"training.batch_size={BATCH}", "training.overlays=0"]
        self.fast = to_train_config(compose_config([*overrides, "training.precision=bf16"]))
        self.full = to_train_config(compose_config([*overrides, "training.precision=fp32"]))
        self.epoch = 0

    def plain(self) -> Spent:
        """A first training script, in float32."""
        return self._plain(is_fast=False, has_metric=False)

    def smp_example(self) -> Spent:
        """The same, with the metric of SMP's example in each step."""
        return self._plain(is_fast=False, has_metric=True)

    def plain_fast(self) -> Spent:
        """A plain loop with our precision, memory order and optimizer."""
        return self._plain(is_fast=True, has_metric=False)

    def segmentor(self) -> Spent:
        """Ours, as it is."""
        return self._segmentor(self.fast)

    def segmentor_fp32(self) -> Spent:
        """Ours in float32."""
        return self._segmentor(self.full)

    def _plain(self, is_fast: bool, has_metric: bool) -> Spent:
        _, network, spec = make_network(self.full, self.train, "cpu", is_resumed=True)
        network.train()
        if not is_fast:
            network = network.to(memory_format=torch.contiguous_format)
        loader = self._loader(spec)
        loss_of = SegmentationLoss(default_terms(True), True)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=is_fast)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (spec.mean, spec.std))
        order = torch.channels_last if is_fast else torch.contiguous_format
        start = now()
        for batch in loader:
            pixels = ((batch["image"].float() - mean) / std).contiguous(memory_format=order)
            with torch.autocast("cpu", torch.bfloat16, enabled=is_fast):
                logits = network(pixels)
            loss = loss_of(logits.float(), batch["mask"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if has_metric:
                predicted = (logits.sigmoid() > 0.5).long()
                smp.metrics.get_stats(predicted, batch["mask"][:, None], mode="binary")
        return since(start)

    def _loader(self, spec) -> DataLoader:
        loaders, sampler, _ = make_loaders(
            self.full, self.train, self.val, spec, self.folder, "cpu"
        )
        self.epoch += 1
        sampler.start(self.epoch)
        return loaders["train"]

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
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(Path(folder), arguments.batches)
        loops: dict[str, Callable[[], Spent]] = {
            "plain (fp32)": comparison.plain,
            "as SMP's example (fp32)": comparison.smp_example,
            "plain, our precision (bf16)": comparison.plain_fast,
            "segmentor, fp32": comparison.segmentor_fp32,
            "segmentor (bf16)": comparison.segmentor,
        }
        seconds: dict[str, list[Spent]] = {name: [] for name in loops}
        for turn in range(arguments.rounds + 1):
            for name, loop in loops.items():
                spent = loop()
                if turn:  # the first round builds kernels
                    seconds[name].append(spent)
    report(seconds, arguments.batches * BATCH)


def report(seconds: dict[str, list[Spent]], images: int) -> None:
    base = seconds["plain (fp32)"]
    print(f"{torch.get_num_threads()} threads, batches of {BATCH} at {SIZE[0]} x {SIZE[1]}")
    print(f"medians of {len(base)} rounds; the ratios are paired within a round")
    print(f"{'loop':30} {'images/s':>9} {'of plain':>9} {'CPU s/image':>12} {'of plain':>9}")
    for name, values in seconds.items():
        figures = []
        for clock in (0, 1):
            ratio = statistics.median(
                b[clock] / v[clock] for b, v in zip(base, values, strict=True)
            )
            figures += [statistics.median(v[clock] for v in values) / images, ratio]
        wall, wall_ratio, cpu, cpu_ratio = figures
        print(f"{name:30} {1 / wall:9.1f} {wall_ratio:8.2f}x {cpu:12.3f} {cpu_ratio:8.2f}x")


if __name__ == "__main__":
    main()
