"""Running out of memory, said in words that help."""

import contextlib
from collections.abc import Iterator

import torch

from segmentor.errors import TrainingError


@contextlib.contextmanager
def memory_errors(batch_size: int, size: tuple[int, int]) -> Iterator[None]:
    """Turns 'out of memory' of torch into an error that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(batch_size, size) from error


def is_out_of_memory(error: Exception) -> bool:
    """True for torch's and Python's errors of that kind; the CPU's is a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "alloc" in str(error) and "memory" in str(error)


def out_of_memory(batch_size: int, size: tuple[int, int]) -> TrainingError:
    """The error for a run that does not fit."""
    return TrainingError(
        "training",
        f"out of memory with batches of {batch_size} at {size[0]} x {size[1]}",
        "",
        f"lower training.batch_size (to {max(1, batch_size // 2)}), then processing.max_pixels or "
        "processing.size, or choose a smaller model such as model=tiny",
    )
