"""One model for several threads: a lone request gets all CPUs, several at once get one each."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from segmentor.inference import Forward

_lock = threading.Lock()
_at_work = 0


@contextmanager
def at_work() -> Iterator[None]:
    """Counts a request while a thread works on it: decoding and encoding need a CPU too."""
    global _at_work
    with _lock:
        _at_work += 1
    try:
        yield
    finally:
        with _lock:
            _at_work -= 1


def share_cpus(wide: Forward, narrow: Forward) -> Forward:
    """Returns a Forward for several threads.

    The threads of one inference wait for one another at every layer, and lose their turn where
    others compute as well: two inferences at once of two threads each take some 10 % more CPU than
    two of one thread.

    Args:
        wide: Runs with all CPUs: for a request beside which no other is `at_work`.
        narrow: Runs the same with one.
    """

    def forward(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (wide if _at_work < 2 else narrow)(images)

    return forward
