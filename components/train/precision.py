"""Chooses float32 or bfloat16 arithmetic by trying both for a moment."""

import copy
import logging
import time

import torch
from torch import nn

logger = logging.getLogger(__name__)

# bfloat16 loses digits; it has to be worth it.
LEAST_SPEED_UP = 1.15
PROBE_STEPS = 3


def choose_bf16(network: nn.Module, size: tuple[int, int], batch_size: int, setting: str) -> bool:
    """Returns whether to train in bfloat16 autocast.

    `auto` measures one training step each way on a copy of the network, where the hardware has
    bfloat16 arithmetic; emulated, it is slower than float32.
    """
    if setting != "auto":
        return setting == "bf16"
    device = next(network.parameters()).device
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not has_cpu_bf16():
        return False
    full = _step_seconds(network, size, batch_size, is_bf16=False)
    half = _step_seconds(network, size, batch_size, is_bf16=True)
    logger.info("precision probe fp32_s=%.3f bf16_s=%.3f speed_up=%.2f", full, half, full / half)
    return full / half >= LEAST_SPEED_UP


def has_cpu_bf16() -> bool:
    """True when this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def _step_seconds(
    network: nn.Module, size: tuple[int, int], batch_size: int, is_bf16: bool
) -> float:
    trial = copy.deepcopy(network).train()
    device = next(trial.parameters()).device
    # Two images at least, for batch normalisation over 1 x 1 maps; no more, to be short.
    pixels = torch.rand(max(2, min(batch_size, 4)), 3, *size, device=device)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(PROBE_STEPS + 1):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            output = trial(pixels)
        output.float().mean().backward()
        seconds.append(time.perf_counter() - start)
    # The first step builds kernels; the shortest is least disturbed by other processes.
    return min(seconds[1:])
