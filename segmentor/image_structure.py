"""Check the structure of an encoded image before Pillow reads it, so that no header is a trap.

Pillow walks chunks and markers in Python and reads the data of every EXIF or TIFF tag: millions
of empty chunks take it many seconds, and tags that share their data fill any memory. Scans of a
JPEG and rows of a BMP that have a few bytes each take as long as full ones.
"""

import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from segmentor.errors import ImageError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PNGs have about twenty; the JPEG of a photograph has about a hundred with its colour profile.
_MAX_CHUNKS = 1_000
# libpng writes 8 KiB at a time; some writers write a row.
_MAX_DATA_CHUNKS = 200_000
_MAX_MARKERS = 10_000
_MAX_TAGS = 1 << 16
# libjpeg walks all blocks of an image for each scan, even an empty one. Progressive photographs
# have about ten; libtiff also refuses more than 100. An empty one takes 0.2 s at 200 megapixels.
_MAX_SCANS, _MAX_SCANS_OF_ANY_SIZE = 100, 20
_MAX_SCANNED_PIXELS = 4_000_000_000
# Pillow makes an object for each. The limit allows strips of one row, or tiles of 64 x 64 pixels.
_MAX_STRIPS = 1 << 16
# libtiff decodes a whole tile, even if only a corner of it lies in the image.
_MAX_TILE_PIXELS = 1 << 25
# Pillow decodes these in Python, run by run or pixel by pixel: Full HD takes a second or two.
_MAX_RUN_LENGTH_PIXELS = 1 << 21
# Bytes per value of each type. Source: TIFF 6.0, section 2; BigTIFF adds 16 to 18.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
# EXIF, GPS and interoperability: Pillow reads these in a TIFF when it loads the pixels.
_SUB_DIRECTORIES = (34665, 34853, 40965)
_STRIP_OFFSETS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS = 273, 322, 323, 324
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# All from 0xC0 to 0xCF except tables (DHT, JPG, DAC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
_APP1, _APP2 = 0xE1, 0xE2
# What ends entropy-coded data: not stuffed zeros, restarts, or markers that libjpeg skips.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")


def check_structure(content: bytes, where: str) -> None:
    """Check chunks, markers and tags of PNG, JPEG and TIFF without decoding anything.

    Raises:
        ImageError: there are more than any real image has.
    """
    if content[:8] == PNG_SIGNATURE:
        _check_chunks(content, where)
    elif content[:2] == b"\xff\xd8":
        _check_markers(content, where)
    else:
        check_tags(content, where)


def check_tags(data: bytes, where: str) -> None:
    """Check the first directory of a TIFF, or of EXIF data, which has the same form.

    Raises:
        ImageError: its tags claim more than twice the data that is there.
    """
    data = data.removeprefix(b"Exif\0\0")
    held = 0
    tile = {_TILE_WIDTH: 0, _TILE_HEIGHT: 0}
    for entries, (tag, values, size, start) in enumerate(_tags(data, False), start=1):
        held += size if start + size <= len(data) else 0
        if entries > _MAX_TAGS or held > 2 * len(data):
            raise _trap(where, "tags that hold more than the file has", "EXIF or TIFF tags")
        if tag in (_STRIP_OFFSETS, _TILE_OFFSETS) and values > _MAX_STRIPS:
            found, expected = f"{values:,} strips or tiles", f"at most {_MAX_STRIPS:,}"
            raise ImageError(where, found, expected, "save it again with larger ones")
        if tag in tile:
            # Every writer puts a single number into the entry itself.
            tile[tag] = max(tile[tag], 1 << 32 if size else start)
    if tile[_TILE_WIDTH] * tile[_TILE_HEIGHT] > _MAX_TILE_PIXELS:
        found = f"tiles of {tile[_TILE_WIDTH]} x {tile[_TILE_HEIGHT]} pixels"
        raise ImageError(where, found, f"at most {_MAX_TILE_PIXELS:,} pixels", "save it in strips")


def check_run_length(image: Image.Image, content: bytes, where: str) -> None:
    """Check a run-length BMP, which Pillow decodes in Python.

    Raises:
        ImageError: it would take more than a second or two.
    """
    if [tile[0] for tile in getattr(image, "tile", ())] != ["bmp_rle"]:
        return
    width, height = image.size
    # A run has two bytes, and so has the end of a row. Four bytes may skip 255 rows.
    size = max(width * height, width * 32)
    if size > _MAX_RUN_LENGTH_PIXELS or len(content) > 3 * width * height + (1 << 16):
        raise ImageError(
            where,
            f"a run-length encoded BMP of {width} x {height} pixels and {len(content):,} bytes",
            f"at most {_MAX_RUN_LENGTH_PIXELS:,} pixels, 65,536 in a row, and 3 bytes a pixel",
            "save it uncompressed, or as PNG",
        )


def late_exif(content: bytes) -> bytes:
    """Return the EXIF data that a few writers put after the pixels of a PNG."""
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
    """Yield (kind, start of the data, length) of each chunk of a PNG."""
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        yield kind, position + 8, length
        position += 12 + length


def _check_markers(content: bytes, where: str) -> None:
    exif = bytearray()
    position, steps, frame = 2, 0, b""
    while position + 4 <= len(content):
        # Junk and padding count byte by byte, because Pillow skips them byte by byte.
        marker_at = content.find(b"\xff", position, position + _MAX_MARKERS + 1)
        steps += 1 + (marker_at - position if marker_at >= 0 else _MAX_MARKERS)
        if steps > _MAX_MARKERS:
            raise _trap(where, f"a JPEG of more than {_MAX_MARKERS:,} markers", "a JPEG of fewer")
        if marker_at < 0:
            break
        position, marker = marker_at, content[marker_at + 1 : marker_at + 2]
        kind = marker[0] if marker else _END_OF_IMAGE
        if kind == _START_OF_SCAN:
            _check_scans(content, frame, position, where)
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
        if kind in _FRAMES and not frame:
            frame = content[position + 1 : position + 10]
        elif kind == _APP1 and segment[:6] == b"Exif\0\0":
            exif += segment[6:]  # more than 64 KiB comes in several segments
        elif kind == _APP2 and segment[:4] == b"MPF\0":
            check_tags(segment[4:], where)
        position += 2 + length
    check_tags(bytes(exif), where)


def _check_scans(content: bytes, frame: bytes, first: int, where: str) -> None:
    """Check how many scans libjpeg would read: those up to the end of the first image."""
    kind, _, _, height, width, components = struct.unpack(">BHBHHB", frame.ljust(9, b"\0"))
    if kind in _SEQUENTIAL and content[first + 4 : first + 5] == bytes([components]):
        return  # all components are in the first scan: libjpeg reads no other
    allowed = _MAX_SCANNED_PIXELS // max(1, height * width)
    allowed = min(max(allowed, _MAX_SCANS_OF_ANY_SIZE), _MAX_SCANS)
    if _count_starts_of_scan(content) <= allowed:
        return
    # Such pairs also occur in a thumbnail, in a profile, or after the image.
    scans = markers = 0
    while found := _MARKER.search(content, first):
        kind, length = found[0][1], int.from_bytes(content[found.end() : found.end() + 2])
        if kind == _END_OF_IMAGE:
            return
        markers += 1
        scans += kind == _START_OF_SCAN
        if scans > allowed or markers > _MAX_MARKERS:
            raise ImageError(
                where,
                f"a JPEG of {width} x {height} pixels and {scans} scans, {markers:,} markers",
                f"at most {allowed} scans, {_MAX_MARKERS:,} markers",
                "save it again as a baseline JPEG",
            )
        first = found.end() + length


def _count_starts_of_scan(content: bytes) -> int:
    """Count occurrences of this marker anywhere; four times as fast as bytes.count."""
    pairs = (np.frombuffer(content, "<u2", (len(content) - at) // 2, at) for at in (0, 1))
    return sum(int(np.count_nonzero(each == 0xFF + 256 * _START_OF_SCAN)) for each in pairs)


def _tags(
    data: bytes, is_sub_directory: bool, start: int | None = None
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (tag, values, bytes elsewhere, their offset) of each, sub-directories' tags too.

    If a value is in the entry itself (no bytes elsewhere), its offset is the value.
    """
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
        one = _TYPE_BYTES.get(kind, 0)
        size = values * one
        if size > struct.calcsize(order + directory):
            yield tag, values, size, offset
        else:
            at = position + width - struct.calcsize(order + directory)
            value = data[at : at + one]
            yield tag, values, 0, int.from_bytes(value, "little" if order == "<" else "big")


def _trap(where: str, found: str, expected: str) -> ImageError:
    return ImageError(where, found, expected, "save it again without metadata")
