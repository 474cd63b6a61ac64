"""Lists the files of a zip or a folder, and refuses what would be unsafe to read."""

import os
import re
import stat
import struct
import zipfile
import zlib
from array import array
from pathlib import Path

import numpy as np

from components.convert_labels.source.files import PLAIN_FILE, SourceFiles
from segmentor.errors import DataError

# Files that operating systems leave in archives.
_CLUTTER = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\._)", re.IGNORECASE)
_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
# An extra field of a member: its kind and size.
_FIELD = struct.Struct("<HH")
_UNICODE_PATH = 0x7075
# Photographs and index masks pack to 1:1 to 1:200; a bomb packs to 1:1000.
BOMB_RATIO = 300
BOMB_BYTES = 32 << 20

FACTS = 5
# Names of compression methods that archivers write and we do not read.
_COMPRESSORS = {
    1: "shrink",
    6: "implode",
    9: "deflate64",
    12: "bzip2",
    14: "lzma",
    93: "zstandard",
    95: "xz",
}


def open_source(path: Path, where: str) -> SourceFiles:
    """List a zip or a folder.

    Args:
        path: Where it lies.
        where: What to call it in errors: what the user gave.

    Raises:
        DataError: nothing there, no zip, or names that would be unsafe to use.
    """
    files = _Listed(where)
    if path.is_dir():
        _list_folder(path, files)
    elif path.is_file():
        _list_zip(path, files)
    else:
        raise DataError(where, "no such file or folder", "a CVAT export: a zip or a folder")
    if not len(files.names):
        raise DataError(where, "no files", "a CVAT export: a zip or a folder")
    table = np.frombuffer(files.facts, np.int64).reshape(len(files.names), FACTS)
    return SourceFiles(where, str(path), files.names, table)


class _Listed:
    """The files found so far."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.names: dict[str, int] = {}
        # One row per file: offset, stored bytes, size, checksum, and whether it is deflated.
        self.facts = array("q")

    def add(self, name: str, *facts: int) -> None:
        """Append a file."""
        if name in self.names:
            raise DataError(f"{self.where}: {name}", "the same file name twice", "one file a name")
        self.names[name] = len(self.names)
        self.facts.extend(facts)


def _list_folder(root: Path, files: _Listed) -> None:
    where, real_root = files.where, root.resolve()

    def refuse(error: OSError) -> None:
        place = f"{where}: {os.path.relpath(error.filename, root)}"
        raise DataError(place, f"unreadable ({error.strerror})", "a folder to read") from error

    for folder, folder_names, file_names in os.walk(root, onerror=refuse):
        folder_names.sort()
        inside = Path(folder).relative_to(root).as_posix()
        for name in sorted(folder_names + file_names):
            # No Path objects: they intern their parts, and there may be millions of names.
            path = os.path.join(folder, name)
            relative = name if inside == "." else f"{inside}/{name}"
            if os.path.islink(path) and (
                not Path(path).resolve().is_relative_to(real_root) or os.path.isdir(path)
            ):
                raise DataError(
                    f"{where}: {_shown(relative)}",
                    "a link to a folder or out of the export",
                    "plain files",
                    "copy what it points at to its place",
                )
            if os.path.isdir(path) or _CLUTTER.search(relative):
                continue
            _refuse_surrogates(relative, where)
            if not os.path.isfile(path):
                raise DataError(f"{where}: {relative}", "no plain file", "plain files")
            size = os.path.getsize(path)
            files.add(relative, PLAIN_FILE, size, size, 0, False)


def _list_zip(path: Path, files: _Listed) -> None:
    where, expected = files.where, "a zip or a folder"
    with path.open("rb") as file:
        if file.read(2) not in (b"PK", b"") and not zipfile.is_zipfile(path):
            remedy = "give the zip, or the folder that it lies in"
            raise DataError(where, "a file that is not a zip", expected, remedy)
    try:
        _Directory(path, files).close()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        remedy = "download the export again"
        raise DataError(where, f"no complete zip ({error})", expected, remedy) from error


class _Directory(zipfile.ZipFile):
    """Read the directory of a zip, and hand each member on at once.

    zipfile would keep them in these two attributes, half a kilobyte each.
    """

    filelist = property(lambda self: self._members, lambda self, members: None)
    NameToInfo = property(lambda self: {}, lambda self, members: None)

    def __init__(self, path: Path, files: _Listed) -> None:
        self._members = _Members(files, path.stat().st_size)
        super().__init__(path)


class _Members(list[zipfile.ZipInfo]):
    """A list that stays empty: what is appended is checked and becomes a row of the files."""

    def __init__(self, files: _Listed, zip_bytes: int) -> None:
        super().__init__()
        self._files, self._zip_bytes = files, zip_bytes

    def append(self, member: zipfile.ZipInfo) -> None:
        if not 0 <= member.header_offset <= self._zip_bytes - member.compress_size:
            raise zipfile.BadZipFile("parts that its directory lists are missing")
        name = _member_name(member, self._files.where)
        if member.is_dir() or _CLUTTER.search(name):
            return
        _refuse_member(member, f"{self._files.where}: {name}")
        is_deflated = member.compress_type == zipfile.ZIP_DEFLATED
        sizes = member.compress_size, member.file_size
        self._files.add(name, member.header_offset, *sizes, member.CRC, is_deflated)


def _member_name(member: zipfile.ZipInfo, where: str) -> str:
    name = member.orig_filename
    if not member.flag_bits & _UTF8_FLAG and not name.isascii():
        raw = name.encode("cp437")
        # macOS and old archivers write UTF-8 without saying so; zipfile then reads it as cp437.
        try:
            name = (_unicode_path(member.extra, zlib.crc32(raw)) or raw).decode("utf-8")
        except UnicodeError:
            found, remedy = "a file name that is not UTF-8", "zip it with another archiver"
            raise DataError(
                f"{where}: {name}", found, "UTF-8 names", f"{remedy}, or give the folder"
            ) from None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if "\\" in name:
        found, remedy = "a name with '\\'", "zip it with another archiver, or give the folder"
        raise DataError(f"{where}: {_shown(name)}", found, "relative paths with '/'", remedy)
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or "\0" in name
        or re.match(r"[A-Za-z]:", name)
    ):
        raise DataError(
            f"{where}: {_shown(name)}", "a name that leaves the archive", "relative paths with '/'"
        )
    return "/".join(parts)


def _unicode_path(extra: bytes, name_checksum: int) -> bytes:
    """Return the name in the field "Unicode Path" that Windows archivers add, or b"".

    Source: PKWARE's APPNOTE.TXT, 4.6.9.
    """
    while len(extra) >= _FIELD.size:
        kind, size = _FIELD.unpack_from(extra)
        content, extra = extra[_FIELD.size : _FIELD.size + size], extra[_FIELD.size + size :]
        if kind == _UNICODE_PATH and content[1:5] == struct.pack("<L", name_checksum):
            return content[5:]
    return b""


def _refuse_member(member: zipfile.ZipInfo, where: str) -> None:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(where, "a symbolic link", "plain files", "zip it with the links followed")
    if member.flag_bits & _ENCRYPTED_FLAG:
        raise DataError(where, "an encrypted file", "an archive without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        kind = _COMPRESSORS.get(member.compress_type, str(member.compress_type))
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
