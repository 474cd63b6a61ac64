"""The machine: its device, threads, arithmetic, and what it does with memory."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from segmentor.cpus import available_cpus
from segmentor.errors import ConfigError, TrainingError

# glibc maps each block above its threshold (32 MiB or less) from the kernel and returns it when it
# is freed, as it does with free memory at the end of its heap. A training step needs the same large
# blocks again at once, and pays for them page by page. Source: glibc's malloc.h, and mallopt(3).
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
LARGEST_BLOCK = 1 << 30
LARGEST_FREE = (1 << 31) - 1  # the largest C int


def choose_device(setting: str) -> str:
    """`auto` takes CUDA when there is one.

    Raises:
        ConfigError: `cuda` is asked for and there is none.
    """
    if setting == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device", "cuda, but there is no GPU", "cpu or auto")
    return "cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu"


def gpu_names() -> list[str]:
    """Return the names of the GPUs that torch can use."""
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def set_threads() -> None:
    """Set torch's threads to the CPUs of this process, unless OMP_NUM_THREADS decides.

    In a container with a CPU limit torch counts the cores of the whole machine: sixty-four threads
    on two cores spend their time waiting for one another. Set here in both cases: the sum of many
    numbers depends on the threads, and other work of this process may have set its own.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    torch.set_num_threads(int(asked) if asked.isdecimal() and int(asked) else available_cpus())


def choose_bf16(device: str, setting: str) -> bool:
    """Return whether to train in bfloat16 autocast.

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
    """Return True if this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def keep_depthwise_float32(network: nn.Module) -> None:
    """Take depthwise convolutions out of autocast on the CPU, in place.

    Their backward pass in bfloat16 is several times as slow as in float32 there (torch 2.14): a
    network of them, such as EfficientNet, trained slower in bfloat16 than in float32, and trains
    1.2 to 1.5 times as fast as either with this.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            # Another class and no wrapper: names and copies of the network stay as they are.
            kind = type(module)
            module.__class__ = _KINDS.setdefault(kind, _outside_autocast(kind))


_KINDS: dict[type[nn.Conv2d], type[nn.Conv2d]] = {}


def _outside_autocast(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    def forward(self: nn.Conv2d, pixels: Tensor) -> Tensor:
        with torch.autocast(pixels.device.type, enabled=False):
            return kind.forward(self, pixels.float())

    return type(f"Float32{kind.__name__}", (kind,), {"forward": forward})


def memory_format(network: nn.Module, device: str) -> torch.memory_format:
    """Return how images lie in memory: channels-last is faster, and unsafe for a few networks.

    On the CPU oneDNN's backward pass of a strided 1 x 1 convolution with fewer than 16 input
    channels writes outside its buffer if memory is channels-last (oneDNN issue 6035): the process
    crashes, or goes on with wrong weights. MobileOne, RepVGG and FastViT have such layers.
    """
    is_unsafe = device == "cpu" and any(map(_has_broken_backward, network.modules()))
    return torch.contiguous_format if is_unsafe else torch.channels_last


def _has_broken_backward(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and tuple(module.kernel_size) == (1, 1)
        and max(module.stride) > 1
        and module.groups == 1
        and module.in_channels < 16
    )


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed for the next step; return whether it does.

    Other C libraries, and glibc before 2.35, which knows no blocks that large, stay as they are.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl has a mallopt that does nothing, or none)
        # Set first: the other one alone would fix the size of blocks at its small initial value.
        if not libc.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK):
            return False
        return bool(libc.mallopt(M_TRIM_THRESHOLD, LARGEST_FREE))
    except (OSError, AttributeError, TypeError):  # no glibc: musl, macOS, Windows
        return False


@contextlib.contextmanager
def memory_errors(batch_size: int, size: tuple[int, int]) -> Iterator[None]:
    """Turn 'out of memory' of torch into an error that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(batch_size, size) from error


def is_out_of_memory(error: Exception) -> bool:
    """Return True if the error means out of memory; torch raises a plain RuntimeError on CPUs."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "alloc" in str(error) and "memory" in str(error)


def out_of_memory(batch_size: int, size: tuple[int, int]) -> TrainingError:
    """Return the error for a run that does not fit."""
    return TrainingError(
        "training",
        f"out of memory with batches of {batch_size} at {size[0]} x {size[1]}",
        "",
        f"lower training.batch_size (to {max(1, batch_size // 2)}), then processing.max_pixels or "
        "processing.size, or choose a smaller model such as model=tiny",
    )
