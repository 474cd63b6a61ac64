"""Hostile and broken archives: each gets one clear error, and nothing leaves its folder."""

import io
import random
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from components.convert_labels.source.listing import open_source
from segmentor.errors import DataError

CHANCE = random.Random(0)  # for bytes that do not compress


def zip_with(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/passwd", "a/../../b", "C:/windows"])
def test_names_that_leave_the_archive_are_refused(name: str, tmp_path: Path) -> None:
    path = zip_with(tmp_path / "e.zip", (name, b"x"))
    with pytest.raises(DataError, match="a name that leaves the archive"):
        open_source(path, "e.zip")


def test_names_of_windows_archivers_are_refused_with_a_way_out(tmp_path: Path) -> None:
    path = zip_with(tmp_path / "e.zip", ("a\\..\\b", b"x"))
    with pytest.raises(DataError, match=r"with '/'; zip it with another archiver"):
        open_source(path, "e.zip")


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = zip_with(tmp_path / "e.zip", ("annotations.xml", bytes(64 << 20)))
    with pytest.raises(DataError, match=r"67,108,864 bytes packed into .* zip bomb"):
        open_source(path, "e.zip")


def test_a_directory_that_understates_a_size_does_not_help_a_bomb(tmp_path: Path) -> None:
    path = zip_with(tmp_path / "e.zip", ("a.txt", bytes(1000)))
    content = path.read_bytes().replace(struct.pack("<L", 1000), struct.pack("<L", 10))
    path.write_bytes(content)
    file = open_source(path, "e.zip")["a.txt"]
    with pytest.raises(DataError, match="a damaged file in the zip"):
        file.read()
    with pytest.raises(DataError, match="a damaged file in the zip"), file.open() as stream:
        stream.read()


def test_symbolic_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("labelmap.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = zip_with(tmp_path / "e.zip", (link, b"/etc/passwd"))
    with pytest.raises(DataError, match="a symbolic link"):
        open_source(path, "e.zip")


def test_links_out_of_a_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "secret").write_text("s")
    (folder / "labelmap.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="a link to a folder or out of the export"):
        open_source(folder, "export")


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.9, 0.999])
def test_a_zip_that_is_cut_short_is_refused(keep: float, tmp_path: Path) -> None:
    path = zip_with(tmp_path / "e.zip", *((f"{n}.txt", CHANCE.randbytes(500)) for n in range(20)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"no complete zip .* download the export again"):
        open_source(path, "e.zip")


@pytest.mark.parametrize("lost", [slice(0, 0.5), slice(0.3, 0.6)], ids=["its start", "a middle"])
def test_a_zip_that_lacks_a_part_before_its_directory_is_refused(
    lost: slice, tmp_path: Path
) -> None:
    path = zip_with(tmp_path / "e.zip", *((f"{n}.txt", CHANCE.randbytes(500)) for n in range(20)))
    content = path.read_bytes()
    begin, end = (int(len(content) * share) for share in (lost.start, lost.stop))
    path.write_bytes(content[:begin] + content[end:])
    with pytest.raises(DataError, match=r"no complete zip .* download the export again"):
        open_source(path, "e.zip")


def test_a_file_that_is_no_zip_is_told_from_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text("<annotations/>")
    with pytest.raises(DataError, match="not a zip, .*; give the zip, or the folder"):
        open_source(tmp_path / "annotations.xml", "annotations.xml")


def test_a_damaged_member_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "e.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", b"hello world")
    path.write_bytes(path.read_bytes().replace(b"hello", b"jello", 1))
    file = open_source(path, "e.zip")["a.txt"]
    with pytest.raises(DataError, match=r"a.txt: a damaged file in the zip"):
        file.read()
    with pytest.raises(DataError, match=r"a.txt: a damaged file in the zip"), file.open() as stream:
        stream.read()


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("a.txt", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.txt", b"2")
    with pytest.raises(DataError, match=r"a.txt: the same file name twice"):
        open_source(tmp_path / "e.zip", "e.zip")


def test_names_are_read_as_utf8_even_when_the_archiver_forgot_to_say_so(tmp_path: Path) -> None:
    path = zip_with(tmp_path / "e.zip", ("größe.txt", b"x"))
    # Clears the UTF-8 flag in the local and the central header, as macOS writes it.
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset + 1] &= ~0x08
    path.write_bytes(content)
    assert list(open_source(path, "e.zip")) == ["größe.txt"]


def test_names_that_windows_archivers_give_twice_are_read(tmp_path: Path) -> None:
    # In the code page of DOS, and as UTF-8 in the field "Unicode Path" with a checksum of that.
    local = "für.txt".encode("cp437")
    member = zipfile.ZipInfo("f_r.txt")
    path_field = b"\1" + struct.pack("<L", zlib.crc32(local)) + "für.txt".encode()
    other_field = struct.pack("<HH", 0x9999, 2) + b"ab"
    member.extra = other_field + struct.pack("<HH", 0x7075, len(path_field)) + path_field
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr(member, b"x")
    content = (tmp_path / "e.zip").read_bytes()
    (tmp_path / "e.zip").write_bytes(content.replace(b"f_r.txt", local))
    assert list(open_source(tmp_path / "e.zip", "e.zip")) == ["für.txt"]
    # Of another name, as after the archive was renamed: then the field says nothing.
    (tmp_path / "e.zip").write_bytes(content.replace(b"f_r.txt", "för.txt".encode("cp437")))
    with pytest.raises(DataError, match="för.txt: a file name that is not UTF-8.*archiver"):
        open_source(tmp_path / "e.zip", "e.zip")


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = zip_with(tmp_path / "e.zip", ("gr__e.txt", b"x"))
    path.write_bytes(path.read_bytes().replace(b"gr__e", b"gr\xf6\xdfe"))
    with pytest.raises(DataError, match="a file name that is not UTF-8"):
        open_source(path, "e.zip")


def test_encrypted_files_are_refused(tmp_path: Path) -> None:
    path = zip_with(tmp_path / "e.zip", ("a.txt", b"x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="an encrypted file"):
        open_source(path, "e.zip")


def test_compressions_that_are_not_known_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "e.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.txt", b"x")
    with pytest.raises(DataError, match="compression 'lzma'"):
        open_source(tmp_path / "e.zip", "e.zip")


def test_a_member_reads_the_same_whole_and_as_a_stream(tmp_path: Path) -> None:
    content = CHANCE.randbytes(300_000) + bytes(300_000)
    path = zip_with(tmp_path / "e.zip", ("first", b"1"), ("a.bin", content))
    file = open_source(path, "e.zip")["a.bin"]
    assert file.read() == content
    with file.open() as stream:
        parts = io.BytesIO()
        while part := stream.read(12_345):
            parts.write(part)
    assert parts.getvalue() == content


def test_clutter_of_operating_systems_is_not_seen(tmp_path: Path) -> None:
    path = zip_with(
        tmp_path / "e.zip", ("a.txt", b"x"), ("__MACOSX/._a.txt", b"x"), (".DS_Store", b"x")
    )
    assert list(open_source(path, "e.zip")) == ["a.txt"]
