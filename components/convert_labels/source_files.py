"""The files of an export, in a zip or a folder, read in place: nothing is ever unpacked to disk."""

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from segmentor.errors import DataError

# Files that operating systems leave in archives.
_CLUTTER = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\._)", re.IGNORECASE)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_PLAIN_FILE = -1
_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
# Whatever is read whole: images, masks, label lists. Annotations are streamed.
MAX_FILE_BYTES = 1 << 30
# Photographs and index masks pack to 1:1 to 1:200; a bomb packs to 1:1000.
BOMB_RATIO = 300
BOMB_BYTES = 32 << 20


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
        """Returns the content.

        Raises:
            DataError: it is too large, cut short, or does not match its checksum.
        """
        if self.size > MAX_FILE_BYTES:
            raise DataError(self.name, f"{self.size:,} bytes", f"at most {MAX_FILE_BYTES:,}")
        if self.offset == _PLAIN_FILE:
            try:
                return Path(self.container).read_bytes()
            except OSError as error:
                raise DataError(self.name, f"unreadable ({error.strerror})") from error
        with self._open_container() as container:
            stored = container.read(self.stored_bytes)
        try:
            # One byte more than announced tells a lie in the directory from the truth.
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            content = inflate.decompress(stored, self.size + 1) if self.is_deflated else stored
        except zlib.error as error:
            raise _corrupt(self.name, str(error)) from error
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise _corrupt(self.name, "size or checksum differ")
        return content

    def open(self) -> BinaryIO:
        """Opens the content as a stream, for what is too large to be held; no checksum is made."""
        if self.offset == _PLAIN_FILE:
            return Path(self.container).open("rb")
        container = self._open_container()
        return io.BufferedReader(_Member(container, self), 1 << 16)

    def read_text(self) -> str:
        """Returns the content as UTF-8 text.

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
                raise _corrupt(self._name, f"{self._left} bytes are missing")
        buffer[: len(content)] = content
        self._left -= len(content)
        return len(content)

    def close(self) -> None:
        self._container.close()
        super().close()


@dataclass(frozen=True)
class SourceFiles:
    """The files of an export by their name: a relative path with '/', case kept."""

    where: str
    files: dict[str, SourceFile] = field(repr=False)

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def __getitem__(self, name: str) -> SourceFile:
        return self.files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def below(self, folder: str) -> list[str]:
        """Returns the names below a folder, sorted."""
        prefix = folder.rstrip("/") + "/"
        return sorted(name for name in self.files if name.startswith(prefix))

    def top_folders(self) -> list[str]:
        """Returns the folders at the top, sorted."""
        return sorted({name.split("/", 1)[0] for name in self.files if "/" in name})

    def without_wrapper(self) -> "SourceFiles":
        """Drops a single folder around everything, as archivers make it."""
        tops = {name.split("/", 1)[0] for name in self.files}
        if len(tops) != 1 or any("/" not in name for name in self.files):
            return self
        cut = len(tops.pop()) + 1
        return SourceFiles(self.where, {name[cut:]: file for name, file in self.files.items()})


def open_source(path: Path, where: str) -> SourceFiles:
    """Lists a zip or a folder.

    Args:
        path: Where it lies.
        where: What to call it in errors: what the user gave.

    Raises:
        DataError: nothing there, no zip, or names that would be unsafe to use.
    """
    if path.is_dir():
        files = _list_folder(path, where)
    elif path.is_file():
        files = _list_zip(path, where)
    else:
        raise DataError(where, "no such file or folder", "a CVAT export: a zip or a folder")
    if not files:
        raise DataError(where, "no files", "a CVAT export: a zip or a folder")
    return SourceFiles(where, files)


def _list_folder(root: Path, where: str) -> dict[str, SourceFile]:
    files = {}
    real_root = root.resolve()
    for folder, folder_names, file_names in os.walk(root):
        folder_names.sort()
        for name in sorted(folder_names + file_names):
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink() and (
                not path.resolve().is_relative_to(real_root) or path.is_dir()
            ):
                raise DataError(
                    f"{where}: {_shown(relative)}",
                    "a link to a folder or out of the export",
                    "plain files",
                    "copy what it points at to its place",
                )
            if path.is_dir() or _CLUTTER.search(relative):
                continue
            _refuse_surrogates(relative, where)
            if not path.is_file():
                raise DataError(f"{where}: {relative}", "no plain file", "plain files")
            size = path.stat().st_size
            files[relative] = SourceFile(relative, str(path), _PLAIN_FILE, size, size, 0, False)
    return files


def _list_zip(path: Path, where: str) -> dict[str, SourceFile]:
    files: dict[str, SourceFile] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.filelist
            archive.filelist = []
            archive.NameToInfo = {}
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        raise DataError(
            where, f"no complete zip ({error})", "a zip or a folder", "download the export again"
        ) from error
    for member in members:
        name = _member_name(member, where)
        if member.is_dir() or _CLUTTER.search(name):
            continue
        if name in files:
            raise DataError(f"{where}: {name}", "the same file name twice", "one file a name")
        files[name] = SourceFile(
            name,
            str(path),
            member.header_offset,
            member.compress_size,
            member.file_size,
            member.CRC,
            member.compress_type == zipfile.ZIP_DEFLATED,
        )
        _refuse_member(member, f"{where}: {name}")
    return files


def _member_name(member: zipfile.ZipInfo, where: str) -> str:
    name = member.orig_filename
    if not member.flag_bits & _UTF8_FLAG and not name.isascii():
        # macOS and old archivers write UTF-8 without saying so; zipfile then reads it as cp437.
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            raise DataError(
                f"{where}: {_shown(name)}", "a file name that is not UTF-8", "UTF-8 names"
            ) from None
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or "\\" in name
        or "\0" in name
        or re.match(r"[A-Za-z]:", name)
    ):
        raise DataError(
            f"{where}: {_shown(name)}", "a name that leaves the archive", "relative paths with '/'"
        )
    return "/".join(parts)


def _refuse_member(member: zipfile.ZipInfo, where: str) -> None:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(where, "a symbolic link", "plain files", "zip it with the links followed")
    if member.flag_bits & _ENCRYPTED_FLAG:
        raise DataError(where, "an encrypted file", "an archive without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        kind = zipfile.compressor_names.get(member.compress_type, str(member.compress_type))
        raise DataError(where, f"compression '{kind}'", "stored or deflated files")
    if member.file_size > BOMB_BYTES and member.file_size > BOMB_RATIO * member.compress_size:
        raise DataError(
            where,
            f"{member.file_size:,} bytes packed into {member.compress_size:,}",
            f"at most {BOMB_RATIO} times: this looks like a zip bomb",
        )


def _refuse_surrogates(name: str, where: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: {_shown(name)}", "a file name that is not UTF-8", "UTF-8 names"
        ) from None


def _shown(name: str) -> str:
    return ascii(name)[1:-1]


def _corrupt(name: str, why: str) -> DataError:
    return DataError(name, f"a damaged file in the zip ({why})", "what the archiver wrote")
