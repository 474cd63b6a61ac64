"""Ends a child process with the one that started it, also when that one is killed outright."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec nothing may be imported.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Asks the kernel to send SIGTERM when the parent ends; for Popen's `preexec_fn`.

    Source: prctl(2), PR_SET_PDEATHSIG. The parent is the thread that starts the process.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
