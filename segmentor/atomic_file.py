"""Replaces a file in one step: a reader sees the old content or the new, never half of it."""

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a temporary file beside `path`, to the disk, and rename it."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
