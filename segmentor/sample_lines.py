"""The lines of a data set's samples, read in their order or one by its position.

They are compressed where Kubeflow Pipelines copies them, and plain beside shards on a laptop.
"""

import gzip
import mmap
import tempfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import ContractError

SAMPLES = "samples.jsonl.gz"
PLAIN_SAMPLES = "samples.jsonl"
_AS_GZIP = 16 + zlib.MAX_WBITS


class LineWriter:
    """Writes the lines of one artifact into its folder."""

    def __init__(self, folder: Path, compressed: bool) -> None:
        self._file = (folder / (SAMPLES if compressed else PLAIN_SAMPLES)).open("wb")
        # Without a name and a time: equal samples give an equal file. Most of a line are digests,
        # in which nothing repeats: this strategy saves a tenth.
        self._compressor = (
            zlib.compressobj(6, zlib.DEFLATED, _AS_GZIP, 9, zlib.Z_FILTERED) if compressed else None
        )

    def write(self, line: str) -> None:
        """Append a line, given without its end."""
        content = line.encode() + b"\n"
        self._file.write(self._compressor.compress(content) if self._compressor else content)

    def close(self) -> None:
        """Write what is left; on a full disk too the file is closed and gives its blocks back."""
        with self._file:
            if self._compressor:
                self._file.write(self._compressor.flush())


class _Plain(NamedTuple):
    """Plain lines in a mapped file, and where each ends: int64 (N + 1,), starting with 0."""

    text: mmap.mmap
    ends: NDArray[np.int64]


class SampleLines:
    """The lines of one artifact; threads and forked processes may share it."""

    def __init__(self, folder: Path) -> None:
        plain = folder / PLAIN_SAMPLES
        self.path = plain if plain.is_file() else folder / SAMPLES

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines, one in memory at a time.

        Raises:
            ContractError: the file is missing or damaged.
        """
        with self._open() as lines:
            yield from lines

    def at(self, position: int) -> bytes:
        """Return one line, by one read.

        Raises:
            ContractError: the file is missing or damaged.
        """
        text, ends = self._plain
        start, end = ends[position : position + 2].tolist()
        return text[start:end]

    @cached_property
    def _plain(self) -> _Plain:
        ends = array("q", [0])
        # Without a name: it goes with the last process that maps it.
        with tempfile.TemporaryFile() as file, self._open() as lines:
            for line in lines:
                file.write(line)
                ends.append(ends[-1] + len(line))
            file.flush()
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _Plain(text, np.frombuffer(ends, np.int64))

    @contextmanager
    def _open(self) -> Iterator[Iterator[bytes]]:
        is_plain = self.path.name == PLAIN_SAMPLES
        try:
            with self.path.open("rb") if is_plain else gzip.open(self.path) as lines:
                yield lines
        except (OSError, EOFError, zlib.error) as error:
            raise ContractError(
                str(self.path), f"unreadable ({error})", "the lines of the samples"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        # A mapped file stays in its process: a spawned worker maps its own.
        return {name: value for name, value in vars(self).items() if name != "_plain"}
