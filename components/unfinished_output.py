"""The folder beside an output in which it is made, and the end of those whose process was killed.

Its lock tells whether somebody still works in it: the kernel drops a lock with the last process
that holds it, whatever killed it and whichever container it was in. Process ids would not do: each
container counts its own, and pods may share the folder.
"""

import contextlib
import fcntl
import functools
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

# Taken out before the folder becomes the output.
LOCK = ".lock"
# One under each kernel, the same in all its containers.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def partial_prefix(path: Path) -> Path:
    """What the names of all unfinished folders of an output begin with."""
    return path.parent / f".{path.name}.partial-"


@contextlib.contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """Yields a new, locked folder beside `path`, and removes what is left of it at the end.

    Those that killed processes have left in the parent folder are removed first.
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
    """Removes unfinished folders whose process is certainly dead; once, for it looks at every name.

    What was written under another kernel stays, on a shared disk or before a restart: file systems
    need not carry locks from one to the other. So does what has no lock.
    """
    for folder in parent.glob(".*.partial-*"):
        with contextlib.suppress(OSError), (folder / LOCK).open("rb+") as lock:
            if lock.read() == _kernel() != b"":
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; it gets its name when it is held, so that nobody finds it free."""
    nameless = folder / f"{LOCK}.new"
    with nameless.open("xb") as lock:
        lock.write(_kernel())
        lock.flush()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            nameless.rename(folder / LOCK)
        except OSError:  # a file system without locks: nobody can tell when it is left
            nameless.unlink()
        yield


def _kernel() -> bytes:
    try:
        return _BOOT_ID.read_bytes()
    except OSError:
        return b""
