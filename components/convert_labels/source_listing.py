"""Lists the files of a zip or a folder, and refuses what would be unsafe to read."""

import os
import re
import stat
import struct
import zipfile
from array import array
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from components.convert_labels.source_files import PLAIN_FILE, SourceFiles
from segmentor.errors import DataError

# Files that operating systems leave in archives.
_CLUTTER = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\._)", re.IGNORECASE)
_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
# Photographs and index masks pack to 1:1 to 1:200; a bomb packs to 1:1000.
BOMB_RATIO = 300
BOMB_BYTES = 32 << 20

# Name, then offset, stored bytes, size, checksum, whether it is deflated.
Listed = tuple[str, int, int, int, int, bool]
FACTS = 5


def open_source(path: Path, where: str) -> SourceFiles:
    """Lists a zip or a folder.

    Args:
        path: Where it lies.
        where: What to call it in errors: what the user gave.

    Raises:
        DataError: nothing there, no zip, or names that would be unsafe to use.
    """
    if path.is_dir():
        listed = _list_folder(path, where)
    elif path.is_file():
        listed = _list_zip(path, where)
    else:
        raise DataError(where, "no such file or folder", "a CVAT export: a zip or a folder")
    rows: dict[str, int] = {}
    facts = array("q")
    for name, *values in listed:
        if name in rows:
            raise DataError(f"{where}: {name}", "the same file name twice", "one file a name")
        rows[name] = len(rows)
        facts.extend(values)
    if not rows:
        raise DataError(where, "no files", "a CVAT export: a zip or a folder")
    table = np.frombuffer(facts, np.int64).reshape(len(rows), FACTS)
    return SourceFiles(where, str(path), rows, table)


def _list_folder(root: Path, where: str) -> Iterator[Listed]:
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
            yield relative, PLAIN_FILE, size, size, 0, False


def _list_zip(path: Path, where: str) -> Iterator[Listed]:
    expected, again = "a zip or a folder", "download the export again"
    with path.open("rb") as file:
        if file.read(2) not in (b"PK", b"") and not zipfile.is_zipfile(path):
            remedy = "give the zip, or the folder that it lies in"
            raise DataError(where, "a file that is no zip", expected, remedy)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.filelist[::-1]
            archive.filelist.clear()
            archive.NameToInfo.clear()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        raise DataError(where, f"no complete zip ({error})", expected, again) from error
    size = path.stat().st_size
    while members:
        # Taken off, as the list is by far the largest thing in memory.
        member = members.pop()
        if not 0 <= member.header_offset <= size - member.compress_size:
            found = "no complete zip (parts that its directory lists are missing)"
            raise DataError(where, found, expected, again)
        name = _member_name(member, where)
        if member.is_dir() or _CLUTTER.search(name):
            continue
        _refuse_member(member, f"{where}: {name}")
        is_deflated = member.compress_type == zipfile.ZIP_DEFLATED
        yield (
            name,
            member.header_offset,
            member.compress_size,
            member.file_size,
            member.CRC,
            is_deflated,
        )


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
