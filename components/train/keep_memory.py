"""Keeps freed memory in the process: a training step asks for the same large blocks again at once.

glibc takes each block above 32 MiB, or less, from the kernel and gives it back when it is freed;
what is free at the end of its heap goes back too. The next step pays for them anew, page by page.
"""

import ctypes

# Source: glibc's malloc.h, and mallopt(3). A block above the first is mapped for itself; more free
# memory than the second at the end of the heap is given back.
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
LARGEST_BLOCK = 1 << 30
LARGEST_FREE = (1 << 31) - 1  # of a C int


def keep_freed_memory() -> bool:
    """Asks glibc to keep what is freed for the next step; returns whether it does.

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
