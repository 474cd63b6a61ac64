"""Training in several processes: torchrun, or any launcher that sets RANK and WORLD_SIZE.

Catalyst's own distributed engine trains each process alone under torchrun, and says nothing; the
plain engines join a group that exists. So the group is made here, before anything else.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


@contextlib.contextmanager
def in_group(is_cpu: bool) -> Iterator[None]:
    """Join the group that the environment describes, and leave it; alone, it does nothing.

    A group that the caller has made is taken as it is, and left to the caller.
    """
    if world_size() == 1:
        yield
        return
    if distributed.is_initialized():
        with _described(is_cpu):
            yield
        return
    if not is_cpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("gloo" if is_cpu else "nccl")
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def _described(is_cpu: bool) -> Iterator[None]:
    """Describe the group in the environment, where accelerate looks: it does not ask torch.

    Without this each process would train alone, and all would write the same files.
    """
    facts = {
        "WORLD_SIZE": world_size(),
        "RANK": rank(),
        "LOCAL_RANK": rank() if is_cpu else torch.cuda.current_device(),
        "MASTER_ADDR": "127.0.0.1",  # asked for, and not used: the group is there
    }
    added = {name: str(value) for name, value in facts.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def world_size() -> int:
    """Return how many processes train together, in this group or the one to be made."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process, from 0."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """True in the one process that writes."""
    return rank() == 0


def first_decides(decide: Callable[[], T]) -> T:
    """Call `decide` in the first process and return its answer in all of them."""
    if world_size() == 1:
        return decide()
    answer: list[T | None] = [decide() if is_first() else None]
    distributed.broadcast_object_list(answer, src=0)
    return answer[0]  # type: ignore[return-value]


def wait_for_all() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        distributed.barrier()


def settle_gradients(model: nn.Module, batch_size: int, size: tuple[int, int]) -> None:
    """Make DistributedDataParallel order its gradients before the first step; else do nothing.

    It orders them after its first backward pass, by when they were ready, and the sum over three or
    more processes depends on where in the exchange a gradient lies. So the first step of a run that
    goes on would differ in the last bits from the same step of a run without interruption.

    Args:
        model: As it was prepared for training; nothing of it is changed.
        batch_size: Images of a batch.
        size: Height and width.
    """
    is_distributed = isinstance(model, nn.parallel.DistributedDataParallel)
    if not is_distributed:
        return
    before = [buffer.clone() for buffer in model.buffers()]
    was_training, devices = model.training, [p.device for p in model.parameters()][:1]
    with torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
        model.train()
        model(torch.zeros(batch_size, 3, *size, device=devices[0])).sum().backward()
    model.zero_grad(set_to_none=True)
    model.train(was_training)
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)


def share_buffers(network: nn.Module) -> None:
    """Give every process the first one's buffers.

    Each has its own statistics of batch normalisation after its last batch: the validation images
    would be measured by as many networks.
    """
    if world_size() == 1:
        return
    for buffer in network.buffers():
        distributed.broadcast(buffer, src=0)
