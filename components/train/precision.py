"""Chooses float32 or bfloat16 arithmetic by what the hardware can do."""

from functools import cache

import torch
from torch import Tensor, nn


def choose_bf16(device: str, setting: str) -> bool:
    """Returns whether to train in bfloat16 autocast.

    `auto` asks the hardware and does not measure: where bfloat16 is multiplied in hardware it was
    faster for every network tried (with `keep_depthwise_float32`), emulated it is slower than
    float32; and a measurement on a busy machine would choose by chance, and with it the weights
    that come out.
    """
    if setting != "auto":
        return setting == "bf16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return has_cpu_bf16()


def has_cpu_bf16() -> bool:
    """True when this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def keep_depthwise_float32(network: nn.Module) -> None:
    """Takes depthwise convolutions out of autocast on the CPU, in place.

    Their backward pass in bfloat16 is several times as slow as in float32 there (torch 2.14): a
    network of them, such as EfficientNet, trained slower in bfloat16 than in float32, and trains
    1.2 to 1.5 times as fast as either with this.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            # Another class and no wrapper: names and copies of the network stay as they are.
            module.__class__ = _outside_autocast(type(module))


@cache
def _outside_autocast(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    def forward(self: nn.Conv2d, pixels: Tensor) -> Tensor:
        with torch.autocast(pixels.device.type, enabled=False):
            return kind.forward(self, pixels.float())

    return type(f"Float32{kind.__name__}", (kind,), {"forward": forward})
