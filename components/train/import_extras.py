"""Imports a package without the extras that it would load whenever they are installed."""

import contextlib
import sys
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def without(names: Sequence[str]) -> Iterator[None]:
    """Makes `import name` fail as if the package were not installed, for all not yet imported.

    None in `sys.modules` is Python's own way to say so (library reference, `sys.modules`).
    """
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
