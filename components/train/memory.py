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
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise out_of_memory(batch_size, size) from error
    except RuntimeError as error:
        # The CPU's allocator raises a plain RuntimeError.
        if "alloc" not in str(error) or "memory" not in str(error):
            raise
        raise out_of_memory(batch_size, size) from error


def out_of_memory(batch_size: int, size: tuple[int, int]) -> TrainingError:
    """The error for a run that does not fit."""
    return TrainingError(
        "training",
        f"out of memory with batches of {batch_size} at {size[0]} x {size[1]}",
        "",
        f"lower training.batch_size (to {max(1, batch_size // 2)}), then processing.max_pixels or "
        "processing.size, or choose a smaller model such as model=tiny",
    )
