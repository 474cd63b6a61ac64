"""How worker processes are started; it imports nothing heavy, to be called before what does."""

import multiprocessing
import os
import signal
import tempfile
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

# What workers run; it imports numpy, OpenCV and pycocotools.
_PRELOADED = "components.convert_labels.conversion"
# A temporary folder's path of more bytes leaves no room for the names below it.
LONG_FOLDER = 64


def worker_context() -> BaseContext:
    """Return how to start workers; what they need is being imported already when it returns."""
    # A fork of a process with threads may hang; the fork server has none. But it listens on a
    # socket in the temporary folder, whose path may not be longer than 107 bytes.
    if len(os.fsencode(tempfile.gettempdir())) > LONG_FOLDER:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    # Ctrl-C reaches the whole process group. Workers inherit the server's signal handling, so
    # they ignore it from their first instruction on; the parent cleans up.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, previous)
    return context
