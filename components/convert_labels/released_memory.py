"""Gives memory that was freed back to the system, between two parts of long work."""

import contextlib
import ctypes


def release_memory() -> None:
    """Return free pages of the heap, which glibc would keep below what is still in use.

    Other C libraries do without.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
