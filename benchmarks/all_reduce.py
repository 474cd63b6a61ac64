"""What several processes cost: bytes of a step's all-reduce, its time, and its share of the step.

    python -m benchmarks.all_reduce [--processes 2] [--steps 10] [--models tiny unet_resnet34]

Each process is one of a gloo group on loopback, with one thread, and trains the preset's network as
the step does: DistributedDataParallel, batches of 4. Steps with and without the exchange of
gradients take turns; the difference of their medians is what the exchange adds, overlap with the
backward pass included, in wall time and in CPU time, which hardly depends on other work.
`alone` is the same number of bytes in one all-reduce without anything else.
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Sequence

import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measuring import Spent, start_clock
from components.train.configuration.compose import compose_config
from components.train.configuration.config import to_train_config
from components.train.losses import SegmentationLoss, default_terms
from segmentor.nn.network import NetworkConfig, build_network

BATCH = 4
SIZE = (128, 256)
HEADER = "model                MB step ms   share  CPU ms   share  alone ms"


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row a preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--models", nargs="+", default=["tiny", "unet_resnet34"])
    arguments = parser.parse_args(argv)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533", "OMP_NUM_THREADS": "1"}
    sys.stdout.write(f"{HEADER}\n")
    for model in arguments.models:
        settings = (arguments.processes, model, arguments.steps)
        multiprocessing.spawn(measure, settings, nprocs=arguments.processes)


def measure(rank: int, processes: int, model: str, steps: int) -> None:
    """Train in one of the processes; the first prints the row."""
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    distributed.init_process_group("gloo", rank=rank, world_size=processes)
    config = to_train_config(compose_config([f"model={model}", "model.encoder_weights=none"])).model
    network = build_network(NetworkConfig(config.architecture, config.encoder, config.options), 1)
    wrapped = DistributedDataParallel(network.to(memory_format=torch.channels_last))
    loss = SegmentationLoss(default_terms(True), True)
    optimizer = torch.optim.AdamW(wrapped.parameters(), fused=True)
    times: dict[bool, list[Spent]] = {True: [], False: []}
    for _ in range(steps + 1):
        for is_exchanged in (True, False):
            distributed.barrier()
            stop = start_clock()
            train_step(wrapped, loss, optimizer, is_exchanged)
            times[is_exchanged].append(stop(BATCH))
    columns = []
    for clock in ("wall_s", "cpu_s"):
        # What a first step allocates, the others have.
        together, locally = (
            statistics.median(getattr(spent, clock) for spent in times[kind][1:])
            for kind in (True, False)
        )
        columns.append(f"{together * 1e3:>7.0f} {1 - locally / together:>7.1%}")
    gradients = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    alone = statistics.median(exchange(gradients) for _ in range(5))
    if rank == 0:
        megabytes = gradients.numel() * gradients.element_size() / 1e6
        cells = " ".join(columns)
        sys.stdout.write(f"{model:<16} {megabytes:>6.1f} {cells} {alone * 1e3:>9.1f}\n")
        sys.stdout.flush()
    distributed.destroy_process_group()


def train_step(
    network: DistributedDataParallel,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    is_exchanged: bool,
) -> None:
    """Make one step of random images, with or without the exchange of its gradients."""
    images = torch.randn(BATCH, 3, *SIZE).contiguous(memory_format=torch.channels_last)
    masks = torch.randint(0, 2, (BATCH, *SIZE))
    with contextlib.nullcontext() if is_exchanged else network.no_sync():
        loss(network(images), masks).backward()
    optimizer.step()
    optimizer.zero_grad()


def exchange(gradients: torch.Tensor) -> float:
    """Return the seconds of one all-reduce."""
    distributed.barrier()
    started = time.perf_counter()
    distributed.all_reduce(gradients.clone())
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
