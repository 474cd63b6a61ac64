"""The files of an export, in a zip or a folder, read in place: nothing is ever unpacked to disk."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import DataError
from segmentor.plurals import counted

_LOCAL_HEADER = struct.Struct("<4s22xHH")
# The offset of a file that is not in a zip.
PLAIN_FILE = -1
# Files that are read whole: images, masks, label lists. Annotations are streamed.
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of an export; it can be sent to another process and read there.

    `container` is the zip's path, or the file's own; `offset` is where the zip's local header is.
    """

    name: str
    container: str
    offset: int
    stored_bytes: int
    size: int
    crc: int
    is_deflated: bool

    def read(self) -> bytes:
        """Return the content.

        Raises:
            DataError: it is too large, cut short, or does not match its checksum.
        """
        if self.size > MAX_FILE_BYTES:
            raise DataError(self.name, f"{self.size:,} bytes", f"at most {MAX_FILE_BYTES:,}")
        if self.offset == PLAIN_FILE:
            try:
                return Path(self.container).read_bytes()
            except OSError as error:
                raise DataError(self.name, f"unreadable ({error.strerror})") from error
        with self._open_container() as container:
            stored = container.read(self.stored_bytes)
        try:
            # Ask for one byte more than announced, to detect a directory that lies about the size.
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            content = inflate.decompress(stored, self.size + 1) if self.is_deflated else stored
        except zlib.error as error:
            raise _corrupt(self.name, str(error)) from error
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise _corrupt(self.name, "size or checksum differ")
        return content

    def open(self) -> BinaryIO:
        """Open the content as a stream, for what is too large to be held.

        Reading raises DataError where it is cut short, and at its end if the checksum differs.
        """
        if self.offset == PLAIN_FILE:
            return Path(self.container).open("rb")
        container = self._open_container()
        return io.BufferedReader(_Member(container, self), 1 << 16)

    def read_text(self) -> str:
        """Return the content as UTF-8 text.

        Raises:
            DataError: it is not UTF-8.
        """
        try:
            return self.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                self.name, f"byte {error.object[error.start]:#04x} at {error.start}", "UTF-8 text"
            ) from error

    def _open_container(self) -> BinaryIO:
        container = Path(self.container).open("rb")  # noqa: SIM115 (the caller closes it)
        # Never negative: the listing refuses such a zip.
        container.seek(self.offset)
        header = container.read(_LOCAL_HEADER.size)
        if len(header) != _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            container.close()
            raise _corrupt(self.name, "no local header")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        container.seek(name_bytes + extra_bytes, os.SEEK_CUR)
        return container


class _Member(io.RawIOBase):
    """The bytes of one zip member, inflated as they are asked for."""

    def __init__(self, container: BinaryIO, file: SourceFile) -> None:
        self._container, self._name = container, file.name
        self._checksum, self._expected_checksum = 0, file.crc
        self._stored_left, self._left = file.stored_bytes, file.size
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if file.is_deflated else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._left)
        content = b""
        while wanted and not content:
            tail = self._inflate.unconsumed_tail if self._inflate else b""
            chunk = tail or self._container.read(min(self._stored_left, wanted))
            self._stored_left -= 0 if tail else len(chunk)
            try:
                content = self._inflate.decompress(chunk, wanted) if self._inflate else chunk
            except zlib.error as error:
                raise _corrupt(self._name, str(error)) from error
            if not chunk and not content:
                raise _corrupt(self._name, f"{counted(self._left, 'byte is', 'bytes are')} missing")
        buffer[: len(content)] = content
        self._left -= len(content)
        self._checksum = zlib.crc32(content, self._checksum)
        if content and not self._left and self._checksum != self._expected_checksum:
            raise _corrupt(self._name, "the checksum differs")
        return len(content)

    def close(self) -> None:
        self._container.close()
        super().close()


@dataclass(frozen=True)
class SourceFiles:
    """The files of an export by their name: a relative path with '/', case kept.

    `facts` int64 (N, 5) has the fields of a SourceFile from `offset` on, in rows that
    `names` gives; these begin with `wrapper`. An object a file would take ten times the memory.
    """

    where: str
    container: str
    names: dict[str, int] = field(repr=False)
    facts: NDArray[np.int64] = field(repr=False)
    wrapper: str = ""

    def __contains__(self, name: str) -> bool:
        return self.wrapper + name in self.names

    def __getitem__(self, name: str) -> SourceFile:
        offset, stored_bytes, size, crc, is_deflated = self.facts[self.row_of(name)].tolist()
        container = self.container
        if offset == PLAIN_FILE:
            container = os.path.join(container, self.wrapper + name)
        return SourceFile(name, container, offset, stored_bytes, size, crc, bool(is_deflated))

    def __iter__(self) -> Iterator[str]:
        return (name[len(self.wrapper) :] for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    def row_of(self, name: str) -> int:
        """Return the row of a file.

        Raises:
            KeyError: no file has this name.
        """
        row = self.names.get(self.wrapper + name)
        if row is None:
            raise KeyError(name)
        return row

    def below(self, folder: str) -> list[str]:
        """Return the names below a folder, sorted."""
        prefix = folder.rstrip("/") + "/"
        return sorted(name for name in self if name.startswith(prefix))

    def top_folders(self) -> list[str]:
        """Return the folders at the top, sorted."""
        return sorted({name.split("/", 1)[0] for name in self if "/" in name})

    def inside(self, folder: str) -> "SourceFiles":
        """Return the files of a folder alone."""
        wrapper = f"{self.wrapper}{folder}/"
        names = {name: row for name, row in self.names.items() if name.startswith(wrapper)}
        return replace(self, names=names, wrapper=wrapper)

    def unwrapped(self) -> "Iterator[SourceFiles]":
        """Yield the files as they are, then without each folder that only wraps everything."""
        files = self
        while True:
            yield files
            inner = files.without_wrapper()
            if inner is files:
                return
            files = inner

    def without_wrapper(self) -> "SourceFiles":
        """Drop a single folder around everything, as archivers make it."""
        if len(tops := self.top_folders()) != 1 or any("/" not in name for name in self):
            return self
        return replace(self, wrapper=f"{self.wrapper}{tops[0]}/")


def _corrupt(name: str, why: str) -> DataError:
    found, remedy = f"a damaged file in the zip ({why})", "download the export again"
    return DataError(name, found, "what the archiver wrote", remedy)
