"""The temporary folder beside an output, and the removal of those whose process was killed.

A lock shows whether somebody still works in a folder: the kernel releases it when the last process
that holds it ends, however it ends and in whichever container. Process ids would not work: each
container counts its own, and pods may share the folder.
"""

import contextlib
import fcntl
import functools
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

# Removed before the folder becomes the output.
LOCK = ".lock"
# Each boot of a kernel has its own, which all its containers see.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def partial_prefix(path: Path) -> Path:
    """Return how the names of all unfinished folders of an output begin."""
    return path.parent / f".{path.name}.partial-"


@contextlib.contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """Yield a new, locked folder beside `path`, and remove it at the end if it is still there.

    Folders that killed processes left in the parent folder are removed first.
    """
    remove_leftovers(path.parent)
    folder = Path(f"{partial_prefix(path)}{secrets.token_hex(4)}")
    folder.mkdir()
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def remove_leftovers(parent: Path) -> None:
    """Remove unfinished folders whose process is certainly dead; once, because it reads every name.

    Folders written under another kernel (on a shared disk, or before a restart) stay, because file
    systems need not share locks between kernels. So do folders without a lock.
    """
    for folder in parent.glob(".*.partial-*"):
        with contextlib.suppress(OSError), (folder / LOCK).open("rb+") as lock:
            if lock.read() == _kernel() != b"":
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which gets its name once it is held: nobody finds it free."""
    nameless = folder / f"{LOCK}.new"
    with nameless.open("xb") as lock:
        lock.write(_kernel())
        lock.flush()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            nameless.rename(folder / LOCK)
        except OSError:  # a file system without locks: nobody can tell when the folder is abandoned
            nameless.unlink()
        yield


def _kernel() -> bytes:
    try:
        return _BOOT_ID.read_bytes()
    except OSError:
        return b""
