"""What is tried before training starts, so that a misfit is a message and not a traceback."""

import copy

import torch
from torch import nn

from components.train.memory import is_out_of_memory
from segmentor.errors import ConfigError


def choose_device(setting: str) -> str:
    """`auto` takes CUDA when there is one.

    Raises:
        ConfigError: `cuda` is asked for and there is none.
    """
    if setting == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device", "cuda, but there is no GPU", "cpu or auto")
    return "cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu"


def check_trainable(network: nn.Module, size: tuple[int, int], batch_size: int) -> None:
    """Tries one step's forward pass on a copy.

    Raises:
        ConfigError: the network cannot take this size, or not a batch of one image.
    """
    trial = copy.deepcopy(network).train()
    device = next(trial.parameters()).device
    name = type(network).__name__
    try:
        with torch.no_grad():
            trial(torch.zeros(min(batch_size, 2), 3, *size, device=device))
    except (ValueError, RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        if "more than 1 value per channel" in reason:
            raise ConfigError(
                "training.batch_size", f"1 for {name}", "at least 2: it normalises over the batch"
            ) from error
        raise ConfigError(
            "processing.size",
            f"{size[0]} x {size[1]}, at which {name} fails ({reason})",
            "a size that the network can take",
            "try a larger one, or another model",
        ) from error
