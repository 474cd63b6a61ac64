"""Training in several processes: torchrun, or any launcher that sets RANK and WORLD_SIZE.

Catalyst's own distributed engine trains each process alone under torchrun, and says nothing; the
plain engines join a group that exists. So the group is made here, before anything else.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


def join_group(is_cpu: bool) -> None:
    """Joins the group that the environment describes; alone, it does nothing."""
    if world_size() == 1 or distributed.is_initialized():
        return
    if not is_cpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("gloo" if is_cpu else "nccl")


def leave_group() -> None:
    """Leaves the group, if there is one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """True in the one process that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def first_decides(decide: Callable[[], T]) -> T:
    """Calls `decide` in the first process and returns its answer in all of them."""
    if world_size() == 1:
        return decide()
    answer: list[T | None] = [decide() if is_first() else None]
    distributed.broadcast_object_list(answer, src=0)
    return answer[0]  # type: ignore[return-value]


def wait_for_all() -> None:
    """Waits until every process is here."""
    if world_size() > 1:
        distributed.barrier()


def share_buffers(network: nn.Module) -> None:
    """Gives every process the first one's buffers.

    Each has its own statistics of batch normalisation after its last batch: the validation images
    would be measured by as many networks.
    """
    if world_size() == 1:
        return
    for buffer in network.buffers():
        distributed.broadcast(buffer, src=0)
