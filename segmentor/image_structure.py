"""Checks the structure of an encoded image before Pillow reads it, so that no header is a trap.

Pillow walks chunks and markers in Python and reads the data of every EXIF or TIFF tag: millions
of empty chunks take it many seconds, and tags that share their data fill any memory.
"""

import struct
from collections.abc import Iterator

from segmentor.errors import ImageError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PNGs have some twenty; a photograph's JPEG has some hundred with its colour profile.
_MAX_CHUNKS = 1_000
# libpng writes 8 KiB at a time, some writers a row.
_MAX_DATA_CHUNKS = 200_000
_MAX_MARKERS = 10_000
_MAX_TAGS = 1 << 16
# Bytes of one value of each type. Source: TIFF 6.0, section 2; BigTIFF adds 16 to 18.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
# EXIF, GPS and interoperability: Pillow reads these of a TIFF when it loads the pixels.
_SUB_DIRECTORIES = (34665, 34853, 40965)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_APP1, _APP2 = 0xE1, 0xE2


def check_structure(content: bytes, where: str) -> None:
    """Checks chunks, markers and tags of PNG, JPEG and TIFF; decodes nothing.

    Raises:
        ImageError: more of them than an image has.
    """
    if content[:8] == PNG_SIGNATURE:
        _check_chunks(content, where)
    elif content[:2] == b"\xff\xd8":
        _check_markers(content, where)
    else:
        check_tags(content, where)


def check_tags(data: bytes, where: str) -> None:
    """Checks the first directory of a TIFF, or of EXIF data, which has the same form.

    Raises:
        ImageError: its tags hold more than twice the data there is.
    """
    data = data.removeprefix(b"Exif\0\0")
    held = 0
    for entries, (size, start) in enumerate(_tags(data, is_sub_directory=False), start=1):
        held += size if start + size <= len(data) else 0
        if entries > _MAX_TAGS or held > 2 * len(data):
            raise _trap(where, "tags that hold more than the file has", "EXIF or TIFF tags")


def late_exif(content: bytes) -> bytes:
    """Returns the EXIF data of a PNG that comes after its pixels, where few writers put it."""
    for kind, start, length in _chunks(content):
        if kind == b"eXIf":
            return content[start : start + length]
    return b""


def _check_chunks(content: bytes, where: str) -> None:
    others = data = 0
    for kind, _, _ in _chunks(content):
        if kind in (b"IDAT", b"fdAT"):
            data += 1
        else:
            others += 1
        if others > _MAX_CHUNKS or data > _MAX_DATA_CHUNKS:
            raise _trap(where, f"a PNG of more than {others + data - 1:,} chunks", "a PNG of fewer")


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields (kind, start of the data, length) of each chunk of a PNG."""
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        yield kind, position + 8, length
        position += 12 + length


def _check_markers(content: bytes, where: str) -> None:
    exif = bytearray()
    position, steps = 2, 0
    while position + 4 <= len(content):
        # Junk and padding count byte by byte: so Pillow skips them.
        marker_at = content.find(b"\xff", position, position + _MAX_MARKERS + 1)
        steps += 1 + (marker_at - position if marker_at >= 0 else _MAX_MARKERS)
        if steps > _MAX_MARKERS:
            raise _trap(where, f"a JPEG of more than {_MAX_MARKERS:,} markers", "a JPEG of fewer")
        if marker_at < 0:
            break
        position, marker = marker_at, content[marker_at + 1 : marker_at + 2]
        kind = marker[0] if marker else _END_OF_IMAGE
        if kind in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        if kind in (0x00, 0xFF):
            position += 1
            continue
        if kind == 0x01 or 0xD0 <= kind <= 0xD8:  # those without data
            position += 2
            continue
        (length,) = struct.unpack(">H", content[position + 2 : position + 4].ljust(2, b"\0"))
        segment = content[position + 4 : position + 2 + length]
        if kind == _APP1 and segment[:6] == b"Exif\0\0":
            exif += segment[6:]  # more than 64 KiB comes in several segments
        elif kind == _APP2 and segment[:4] == b"MPF\0":
            check_tags(segment[4:], where)
        position += 2 + length
    check_tags(bytes(exif), where)


def _tags(
    data: bytes, is_sub_directory: bool, start: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yields (bytes elsewhere, their offset) of each tag, sub-directories' tags too."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return
    is_big = 43 in data[2:4]
    directory, count, entry = ("Q", "Q", "HHQQ") if is_big else ("L", "H", "HHLL")
    if start is None:
        (start,) = struct.unpack_from(order + directory, data, 8 if is_big else 4)
    if start + struct.calcsize(order + count) > len(data):
        return
    (entries,) = struct.unpack_from(order + count, data, start)
    first = start + struct.calcsize(order + count)
    width = struct.calcsize(order + entry)
    for position in range(first, min(first + entries * width, len(data) - width + 1), width):
        tag, kind, values, offset = struct.unpack_from(order + entry, data, position)
        if tag in _SUB_DIRECTORIES and not is_sub_directory:
            yield from _tags(data, True, offset)
        size = values * _TYPE_BYTES.get(kind, 0)
        yield (size if size > (8 if is_big else 4) else 0), offset


def _trap(where: str, found: str, expected: str) -> ImageError:
    return ImageError(where, found, expected, "save it again without metadata")
