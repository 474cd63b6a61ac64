import io
import struct
import zlib

import numpy as np
import pytest
from builders import draw_scene
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageOps

from segmentor.errors import ImageError
from segmentor.image_io import (
    decode_image,
    decode_index,
    decode_with_size,
    encode_index,
    encode_jpeg,
    encode_png,
    read_header,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=50)))
def test_an_index_png_holds_the_indices(indices):
    np.testing.assert_array_equal(decode_index(encode_index(indices)), indices)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colour_type", [0, 3])  # grey, palette
def test_an_index_png_of_fewer_bits_holds_the_indices(bits, colour_type):
    indices = (PIXELS[:, :, 0].astype(int) % 2**bits).astype(np.uint8)
    np.testing.assert_array_equal(decode_index(packed_png(indices, bits, colour_type)), indices)


def test_a_saved_bool_array_is_a_mask_of_0_and_1():
    mask = PIXELS[:, :, 0] > 99
    for kind in ("PNG", "BMP", "TIFF"):
        values = decode_index(encoded(Image.fromarray(mask), kind))
        np.testing.assert_array_equal(values, mask)
        assert values.dtype == np.uint8


def packed_png(indices, bits, colour_type):
    """By the specification, not by the library that reads it."""
    height, width = indices.shape
    columns = np.unpackbits(indices[:, :, None], axis=2)[:, :, 8 - bits :].reshape(height, -1)
    rows = np.packbits(columns, axis=1)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    palette = [(b"PLTE", (bytes(range(256)) * 3)[: 3 * 2**bits])] if colour_type == 3 else []
    chunks = [(b"IHDR", header), *palette, (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_an_index_png_is_what_others_write_too():
    mask = (PIXELS[:, :, 0] % 5).astype(np.uint8)
    with Image.open(io.BytesIO(encode_index(mask))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (34, 21))
        image.verify()
    np.testing.assert_array_equal(decode_index(encode_png(mask)), mask)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind):
    content = encoded(Image.fromarray(PIXELS), kind, lossless=True)
    np.testing.assert_array_equal(decode_image(content), PIXELS)
    assert read_header(content).format == kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_pixels_and_size(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(PIXELS), "PNG", exif=exif)
    pixels, size = decode_with_size(content)
    assert pixels.shape[:2] == size == read_header(content).size
    assert size == ((34, 21) if orientation >= 5 else (21, 34))
    upright = {1: PIXELS, 3: PIXELS[::-1, ::-1], 6: np.rot90(PIXELS, -1), 8: np.rot90(PIXELS)}
    if orientation in upright:
        np.testing.assert_array_equal(pixels, upright[orientation])


def test_grey_palette_alpha_and_sixteen_bits_become_rgb():
    grey = PIXELS[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    sixteen = Image.fromarray(grey.astype(np.uint16) * 257)
    for image in (Image.fromarray(grey), Image.fromarray(grey).convert("P"), sixteen):
        np.testing.assert_array_equal(decode_image(encoded(image)), expected)
    alpha = Image.fromarray(PIXELS)
    alpha.putalpha(7)
    np.testing.assert_array_equal(decode_image(encoded(alpha)), PIXELS)


@given(st.integers(20, 60), st.integers(20, 60))
def test_a_jpeg_at_reduced_scale_is_never_below_what_is_enough(height, width):
    content = encode_jpeg(np.zeros((400, 500, 3), np.uint8))
    pixels, size = decode_with_size(content, at_least=(height, width))
    assert size == (400, 500)
    assert pixels.shape[0] >= height
    assert pixels.shape[1] >= width
    assert pixels.shape[0] < 400


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", encode_png(PIXELS)[:200], encode_jpeg(PIXELS)[:30], b"GIF89a" + bytes(20)],
)
def test_what_is_no_whole_image_is_refused_by_name(content):
    with pytest.raises(ImageError, match=r"^photo\.png: "):
        decode_image(content, "photo.png")


def test_too_many_pixels_are_refused_from_the_header():
    with pytest.raises(ImageError, match="34 x 21 pixels, expected at most 700 pixels"):
        decode_image(encode_png(PIXELS), max_pixels=700)


def test_an_index_image_has_one_channel():
    with pytest.raises(ImageError, match="a RGB image, expected one channel"):
        decode_index(encode_png(PIXELS))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused_for_nobody_knows_what_is_white_in_them(dtype):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 5), 200, dtype)).save(buffer, "TIFF")
    with pytest.raises(ImageError, match="32 bits a pixel and channel"):
        decode_image(buffer.getvalue())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("height", [21, 2200])
def test_every_orientation_of_every_format_is_as_pillow_displays_it(kind, orientation, height):
    """Source: PIL.ImageOps.exif_transpose. 2,200 rows are taken in bands."""
    pixels = np.zeros((height, 2000 if height > 21 else 34, 3), np.uint8)
    pixels[: height // 2, :9] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(pixels), kind, exif=exif, lossless=True)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    decoded, size = decode_with_size(content)
    np.testing.assert_array_equal(decoded, expected)
    assert size == read_header(content).size == expected.shape[:2]
    assert read_header(content).orientation == orientation


@pytest.mark.parametrize("at_least", [None, (60, 80)])
def test_a_jpeg_with_damaged_data_is_refused(damaged_jpeg, at_least):
    with pytest.raises(ImageError, match="a.jpg: an image that cannot be decoded"):
        decode_image(damaged_jpeg, "a.jpg", at_least=at_least)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("at_least", [None, (97, 61), (31, 30), (5, 5)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
def test_a_whole_jpeg_has_the_pixels_that_pillow_decodes(mode, at_least, options):
    colours = draw_scene(3, (301, 251))[0]
    buffer = io.BytesIO()
    Image.fromarray(colours).convert(mode).save(buffer, "JPEG", quality=90, **options)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        if at_least:
            image.draft("RGB", at_least[::-1])
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), at_least=at_least), expected)
