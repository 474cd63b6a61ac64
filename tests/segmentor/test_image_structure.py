import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from segmentor.errors import ImageError
from segmentor.image_io import decode_image, encode_jpeg, encode_png, read_header

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes().removeprefix(b"Exif\0\0")


def greedy_tags(entries: int, held: int) -> bytes:
    """EXIF data whose tags all hold the same `held` bytes."""
    start = 8 + 2 + 12 * entries + 4
    tags = b"".join(struct.pack("<HHLL", 1000 + i, 1, held, start) for i in range(entries))
    return b"II*\0" + struct.pack("<LH", 8, entries) + tags + bytes(4) + bytes(held)


def with_chunks(png: bytes, chunks: bytes, before_pixels: bool = True) -> bytes:
    at = png.index(b"IDAT" if before_pixels else b"IEND") - 4
    return png[:at] + chunks + png[at:]


def app1(data: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(data) + 8) + b"Exif\0\0" + data


JPEG = encode_jpeg(PIXELS)
PNG = encode_png(PIXELS)
TRAPS = {
    "PNG of empty chunks": with_chunks(PNG, chunk(b"tRNx", b"") * 1_000_000),
    "PNG of empty chunks after its pixels": with_chunks(PNG, chunk(b"tRNx", b"") * 10**6, False),
    "PNG of empty IDAT": with_chunks(PNG, chunk(b"IDAT", b"") * 1_000_000),
    "PNG of greedy EXIF": with_chunks(PNG, chunk(b"eXIf", greedy_tags(20_000, 1 << 20))),
    "PNG of late greedy EXIF": with_chunks(
        PNG, chunk(b"eXIf", greedy_tags(20_000, 1 << 20)), False
    ),
    "JPEG of empty segments": JPEG[:2] + b"\xff\xe5\0\x02" * 1_000_000 + JPEG[2:],
    "JPEG of padding": JPEG[:2] + b"\xff" * 10_000_000 + JPEG[2:],
    "JPEG of junk": JPEG[:2] + b"\0" * 10_000_000 + JPEG[2:],
    "JPEG of greedy EXIF": JPEG[:2] + app1(greedy_tags(2_500, 30_000)) + JPEG[2:],
    "TIFF of greedy tags": greedy_tags(20_000, 1 << 20),
}


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS.keys())
def test_a_header_that_is_a_trap_is_refused_at_once(content):
    for read in (read_header, decode_image):
        started = time.process_time()
        with pytest.raises(ImageError, match="save it again without metadata"):
            read(content)
        assert time.process_time() - started < 0.5


def test_the_header_of_a_png_decodes_no_pixel():
    broken = PNG[: PNG.index(b"IDAT") + 40] + bytes(len(PNG))
    assert read_header(broken).size == (30, 40)


@pytest.mark.parametrize("before_pixels", [True, False])
def test_the_orientation_of_a_png_is_read_before_and_after_its_pixels(before_pixels):
    content = with_chunks(PNG, chunk(b"eXIf", exif_of(6)), before_pixels)
    assert read_header(content).size == (40, 30)
    np.testing.assert_array_equal(decode_image(content), np.rot90(PIXELS, -1))


def test_photographs_with_much_metadata_are_read():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 3, "camera " * 500
    exif.get_ifd(0x8769)[0x9286] = b"comment " * 2000
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(PIXELS).save(buffer, kind, exif=exif, icc_profile=bytes(200_000))
        assert read_header(buffer.getvalue()).orientation == 3
