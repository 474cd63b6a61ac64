import io
import re
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
    started = time.process_time()
    with pytest.raises(ImageError, match="save it again without metadata"):
        read_header(content)
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


def progressive(side: int, more_scans: int = 0) -> bytes:
    """A flat progressive JPEG whose last scan, of a few bytes, is there again and again."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (90, 120, 30)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    end = content.rfind(b"\xff\xd9")
    last_scan = content[content.rfind(b"\xff\xda") : end]
    return content[:end] + last_scan * more_scans + content[end:]


def tiff_of(tags: dict[int, tuple[int, tuple[int, ...]]], pixels: bytes, order: str = "<") -> bytes:
    """A TIFF: {tag: (type, values)}; the value -1 is where its pixels lie."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries, elsewhere = b"", b""
    where = start + sum(
        len(values) * (2 if kind == 3 else 4)
        for kind, values in tags.values()
        if len(values) * (2 if kind == 3 else 4) > 4
    )
    for tag, (kind, values) in sorted(tags.items()):
        letters = f"{order}{len(values)}{'H' if kind == 3 else 'L'}"
        data = struct.pack(letters, *(where if value == -1 else value for value in values))
        head = struct.pack(order + "HHL", tag, kind, len(values))
        if len(data) > 4:
            entries += head + struct.pack(order + "L", start + len(elsewhere))
            elsewhere += data
        else:
            entries += head + data.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "LH", 8, len(tags))
    return head + entries + bytes(4) + elsewhere + pixels


def tiled(side: int, tile: int, kind: int = 3, order: str = "<") -> bytes:
    """A grey TIFF of `side` in one tile; `kind` is the type of the tile's size."""
    pixels = zlib.compress(bytes(tile * tile if tile < 100 else 1))
    tags = {256: (3, (side,)), 257: (3, (side,)), 258: (3, (8,)), 259: (3, (8,)), 262: (3, (1,))}
    tags |= {277: (3, (1,)), 322: (kind, (tile,)), 323: (kind, (tile,))}
    return tiff_of(tags | {324: (4, (-1,)), 325: (4, (len(pixels),))}, pixels, order)


def strips(count: int) -> bytes:
    tags = {256: (3, (16,)), 257: (3, (16,)), 258: (3, (8,)), 259: (3, (1,)), 262: (3, (1,))}
    tags |= {273: (4, (-1,) * count), 277: (3, (1,)), 278: (3, (1,)), 279: (4, (16,) * count)}
    return tiff_of(tags, bytes(256))


def bmp_of_runs(width: int, height: int, runs: bytes) -> bytes:
    """A BMP of 8 bits a pixel, run-length encoded."""
    start = 54 + 1024
    head = struct.pack("<2sIII", b"BM", start + len(runs), 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    palette = b"".join(struct.pack("<I", 0x010101 * grey) for grey in range(256))
    return head + info + palette + runs


END_OF_ROW, SKIP = b"\0\0", b"\0\2"
LONG_WORK = {
    "JPEG of very many scans": (progressive(500, 3000), "101 scans"),
    "JPEG of very many scans after a profile": (
        progressive(500, 3000).replace(b"\xff\xdb", b"\xff\xe2\0\x42" + bytes(64) + b"\xff\xdb", 1),
        "101 scans",
    ),
    "large JPEG of many scans": (
        # The size needs more blocks than there are: only the header is read.
        progressive(500, 30).replace(struct.pack(">HH", 500, 500), struct.pack(">HH", 9000, 12000)),
        "at most 37 scans",
    ),
    "JPEG of many segments between its scans": (
        progressive(500, 100).replace(b"\xff\xda", b"\xff\xfe\0\2" * 2000 + b"\xff\xda"),
        "10,001 markers",
    ),
    "TIFF of one large tile": (tiled(16, 20_000), "tiles of 20000 x 20000"),
    "TIFF of one large tile, big-endian": (tiled(16, 20_000, 4, ">"), "tiles of 20000 x 20000"),
    "TIFF of one large tile, short and big-endian": (tiled(16, 20_000, 3, ">"), "of 20000 x 20000"),
    "TIFF of very many strips": (strips(1_000_000), "1,000,000 strips"),
    "BMP of rows that end at once": (
        bmp_of_runs(14_000, 14_000, (b"\1\5" + END_OF_ROW) * 14_000),
        "14000 x 14000",
    ),
    "BMP of steps that go nowhere": (
        bmp_of_runs(1000, 1000, (SKIP + b"\0\0") * 4_000_000),
        "16,001,078 bytes",
    ),
    "BMP of one long row": (bmp_of_runs(2_000_000, 1, SKIP + b"\0\xff"), "in a row"),
}


@pytest.mark.parametrize(("content", "found"), LONG_WORK.values(), ids=LONG_WORK.keys())
def test_a_small_file_that_would_take_long_is_refused_from_its_structure(content, found):
    started = time.process_time()
    with pytest.raises(ImageError, match=re.escape(found)):
        read_header(content)
    assert time.process_time() - started < 0.5


def test_progressive_photographs_are_read():
    assert progressive(500).count(b"\xff\xda") == 10
    assert decode_image(progressive(500)).shape == (500, 500, 3)
    # Empty scans are not too many for the door; the decoder takes them for damage.
    assert read_header(progressive(500, 90)).size == (500, 500)


def test_scans_of_what_comes_with_or_after_the_image_do_not_count():
    profile = b"\xff\xe2" + struct.pack(">H", 60_002) + b"\xff\xda" * 30_000
    first = progressive(500)
    content = (
        first[:2] + profile + first[2:] + progressive(500, 300)
    )  # as phones add a second image
    np.testing.assert_array_equal(decode_image(content), decode_image(first))


def test_a_jpeg_with_one_scan_is_read_whatever_follows_it():
    """libjpeg reads no second scan of it."""
    started = time.process_time()
    content = JPEG[:-2] + b"\xff\xda\0\2" * 100_000
    with pytest.raises(ImageError):  # its own end is missing
        decode_image(content)
    assert time.process_time() - started < 0.5


def test_a_tiff_whose_jpeg_has_very_many_scans_is_refused():
    tags = {256: (3, (500,)), 257: (3, (500,)), 258: (3, (8, 8, 8)), 259: (3, (7,))}
    tags |= {262: (3, (6,)), 273: (4, (-1,)), 277: (3, (3,)), 278: (3, (500,))}
    for scans, is_read in ((10, True), (100, False)):
        content = progressive(500, scans - 10)
        tiff = tiff_of(tags | {279: (4, (len(content),)), 530: (3, (2, 2))}, content)
        if is_read:
            assert decode_image(tiff).shape == (500, 500, 3)
        else:
            with pytest.raises(ImageError, match="cannot be decoded"):
                decode_image(tiff)


def test_ordinary_tiles_strips_and_runs_are_read():
    assert decode_image(tiled(16, 32)).shape == (16, 16, 3)
    assert decode_image(strips(16)).shape == (16, 16, 3)
    runs = b"".join(b"\4" + bytes([row]) + END_OF_ROW for row in range(3))
    expected = np.repeat(np.array([2, 1, 0], np.uint8)[:, None], 4, axis=1)  # from the bottom up
    np.testing.assert_array_equal(decode_image(bmp_of_runs(4, 3, runs))[:, :, 0], expected)
