"""Chooses float32 or bfloat16 arithmetic by what the hardware can do."""

import torch


def choose_bf16(device: str, setting: str) -> bool:
    """Returns whether to train in bfloat16 autocast.

    `auto` asks the hardware and does not measure: where bfloat16 is multiplied in hardware it was
    1.7 to 2.4 times as fast for every network tried, emulated it is slower than float32; and a
    measurement on a busy machine would choose by chance, and with it the weights that come out.
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
