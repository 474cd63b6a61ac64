"""Encoded images to pixels and back: the one place that knows formats and orientation."""

import ctypes
import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, _imaging

from segmentor.errors import ImageError, ImageSizeError
from segmentor.image_structure import (
    check_run_length,
    check_structure,
    check_tags,
    late_exif,
)
from segmentor.pixel_conversion import (
    TRANSPOSED,
    WHITE,
    has_16_bit_colours,
    jpeg_to_rgb,
    raw_mode,
    read_16_bits,
    to_8_bits,
    to_rgb,
    upright,
    webp_to_rgb,
)

# Otherwise Pillow tries about forty decoders, several of them risky on hostile input.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
# 12,000 x 9,000 photographs pass; a decompression bomb does not.
MAX_PIXELS = 200_000_000


# MAX_PIXELS is our limit, and an error: Pillow's own is a warning that is easy to miss.
Image.MAX_IMAGE_PIXELS = None


def _tame_libtiff() -> None:
    """Keep libtiff from printing, and from reading many scans of a JPEG inside a TIFF.

    It prints a line for every damaged row, where we raise an error. Its own limit is 100 scans for
    an image of any size; writers make one to three.
    """
    os.environ.setdefault("LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER", "20")
    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):  # absent where Pillow hides its libtiff, or has none
            getattr(library, name)(ctypes.c_void_p(None))


_tame_libtiff()

# The factors by which Pillow stretches grey of 2 and 4 bits to 0..255, by the file's own mode.
_STRETCHED = {"L;2": 85, "L;4": 17}
_EXIF_ORIENTATION = 0x0112
# Pillow takes 16 bytes per pixel of an animated WebP: libwebp's canvases, and its own copies.
_MAX_ANIMATED_PIXELS = 1 << 25


@dataclass(frozen=True)
class ImageHeader:
    """What the header says, before any pixel is decoded; `size` is (height, width) as displayed."""

    format: str
    size: tuple[int, int]
    mode: str
    orientation: int


def read_header(content: bytes, where: str = "image", max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read format, size as displayed (EXIF applied) and mode; decode nothing.

    Call it first for files from outside: it refuses those that would keep a decoder busy or make
    it read beyond its data. Decoding trusts its input, which is what our own shards deserve.

    Raises:
        ImageError: not an image of a known format, one that is built to harm, or more than
            `max_pixels`.
    """
    with _open(content, where, max_pixels, is_foreign=True) as image:
        _find_late_exif(image, content)
        check_tags(_exif(image), where)
        return _header(image, content)


def decode_image(
    content: bytes,
    where: str = "image",
    max_pixels: int = MAX_PIXELS,
    at_least: tuple[int, int] | None = None,
    white: int = WHITE,
) -> NDArray[np.uint8]:
    """Decode an image to RGB uint8 (H, W, 3), 0..255, upright.

    Alpha is dropped, grey and palette are expanded, 16 bits become 8, EXIF orientation is applied.

    Args:
        content: The encoded file.
        where: What to call it in errors.
        max_pixels: Larger images are refused from the header, before they take memory.
        at_least: A (height, width) that is enough. A JPEG at least twice as large in both is
            decoded at 1/2, 1/4 or 1/8 of its size, which is several times faster.
        white: The value of a 16-bit file that becomes 255, 4095 for data of 12 bits; larger ones
            become 255 too. It does not affect 8-bit files.

    Raises:
        ImageError: unknown format, damaged data (a JPEG's too), or too many pixels.
    """
    return decode_with_size(content, where, max_pixels, at_least, white)[0]


def decode_with_size(
    content: bytes,
    where: str = "image",
    max_pixels: int = MAX_PIXELS,
    at_least: tuple[int, int] | None = None,
    white: int = WHITE,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Do what `decode_image` does, and also return the source's (height, width), upright."""
    with _open(content, where, max_pixels) as image:
        header = _header(image, content)
        try:
            if header.format == "JPEG":
                enough = at_least
                if at_least is not None and header.orientation in TRANSPOSED:
                    enough = at_least[::-1]
                pixels = jpeg_to_rgb(content, image, enough)
            elif header.format == "WEBP" and not _is_animated(content):
                pixels = webp_to_rgb(content)
            elif white != WHITE and has_16_bit_colours(image):
                pixels = to_8_bits(read_16_bits(content), white)
            else:
                pixels = to_rgb(image, white)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _undecodable(where, error) from error
        image.close()  # frees its memory before the array is rotated
    # Pillow and OpenCV rotate a TIFF themselves when they load the pixels.
    if header.orientation > 1 and header.format != "TIFF":
        pixels = upright(pixels, header.orientation)
    return pixels, header.size


def highest_16_bit_value(content: bytes, where: str = "image") -> int | None:
    """Return the highest value of a 16-bit image without its alpha; None for other images.

    Raises:
        ImageError: unknown format, truncated or corrupt data.
    """
    with _open(content, where, MAX_PIXELS) as image:
        try:
            if image.mode.startswith("I;16"):
                return int(np.asarray(image).max())
            return int(read_16_bits(content).max()) if has_16_bit_colours(image) else None
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _undecodable(where, error) from error


def decode_index(content: bytes, where: str = "mask") -> NDArray[np.uint8]:
    """Decode a one-channel PNG (grey or palette) of 1, 2, 4 or 8 bits to its raw values.

    Returns uint8 (H, W): 0 and 1 for 1 bit, 0..15 for 4 bits.

    Raises:
        ImageError: not one channel of at most 8 bits, or not decodable.
    """
    values = decode_values(content, where)
    if values.dtype != np.uint8:
        raise ImageError(where, f"one channel of {8 * values.itemsize} bits", "8 bits")
    return np.asarray(values, np.uint8)


def decode_values(content: bytes, where: str = "mask") -> NDArray[np.generic]:
    """Decode one channel of any depth to its raw values (H, W); they are never scaled.

    Returns uint8 for up to 8 bits, else uint16, int32 or float32, as the file has them.

    Raises:
        ImageError: not one channel, or not decodable.
    """
    with _open(content, where, MAX_PIXELS) as image:
        if image.mode not in ("1", "L", "P", "F") and not image.mode.startswith("I"):
            raise ImageError(where, f"a {image.mode} image", "one channel of 8 bits")
        stretch = _STRETCHED.get(raw_mode(image), 1)
        try:
            values = np.asarray(image)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _undecodable(where, error) from error
        if values.dtype == np.bool_:
            return values.astype(np.uint8)
        return values // np.uint8(stretch) if stretch > 1 else values


def palette_of(content: bytes, where: str = "mask") -> NDArray[np.uint8] | None:
    """Return the palette of an image, uint8 (N, 3), or None when it has none.

    Raises:
        ImageError: not an image of a known format.
    """
    with _open(content, where, MAX_PIXELS) as image:
        if image.mode != "P" or image.palette is None:
            return None
        colours = image.getpalette("RGB") or []
    return np.array(colours, np.uint8).reshape(-1, 3)


def alpha_of(content: bytes, where: str = "mask") -> NDArray[np.uint8] | None:
    """Return how opaque each pixel is, uint8 (H, W), or None without an alpha channel.

    Raises:
        ImageError: not an image of a known format.
    """
    with _open(content, where, MAX_PIXELS) as image:
        if not image.has_transparency_data:
            return None
        return np.asarray(image.convert("RGBA").getchannel("A"))


def encode_png(pixels: NDArray[np.uint8], compress_level: int = 1) -> bytes:
    """Encode uint8 (H, W) or (H, W, 3) as PNG; level 1 is 5x faster than 6 and a few % larger."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def encode_index(indices: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W) of class indices as an 8-bit grey PNG.

    Pillow tries five filters on each row, which suits photographs; masks then take five times as
    long and end larger. Here rows are unfiltered and zlib looks for runs only, with tables that fit
    the cache (memLevel 6): half the time of memLevel 9, and no larger.

    Source: Portable Network Graphics specification, sections 5.3 (chunks), 9.2 and 11.2.2 (IHDR).
    """
    height, width = indices.shape
    rows = np.zeros((height, width + 1), np.uint8)  # the first byte is the row's filter: 0, none
    rows[:, 1:] = indices
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 6, zlib.Z_RLE)
    data = packer.compress(rows.data) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 85) -> bytes:
    """Encode RGB uint8 (H, W, 3) as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _open(content: bytes, where: str, max_pixels: int, is_foreign: bool = False) -> Image.Image:
    try:
        if is_foreign:
            check_structure(content, where)
        with warnings.catch_warnings():
            # Damaged EXIF or TIFF tags do not hurt the pixels.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        found = "no data" if not content else "data in no known image format"
        raise ImageError(where, found, "JPEG, PNG, WebP, BMP or TIFF") from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise ImageSizeError(where, f"{width} x {height} pixels", f"at most {max_pixels:,} pixels")
    if image.format == "WEBP" and _is_animated(content) and width * height > _MAX_ANIMATED_PIXELS:
        image.close()
        found = f"an animated WebP of {width} x {height} pixels"
        raise ImageSizeError(where, found, f"at most {_MAX_ANIMATED_PIXELS:,} pixels")
    if is_foreign:
        check_run_length(image, content, where)
    return image


def _find_late_exif(image: Image.Image, content: bytes) -> None:
    if image.format == "PNG" and "exif" not in image.info and b"eXIf" in content:
        image.info["exif"] = late_exif(content)


def _header(image: Image.Image, content: bytes) -> ImageHeader:
    _find_late_exif(image, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The base class's method: a PNG's own decodes all pixels if no EXIF comes before them.
            orientation = int(Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError):
        orientation = 1
    width, height = image.size
    # The size of a TIFF is already the displayed one.
    is_turned = orientation in TRANSPOSED and image.format != "TIFF"
    size = (width, height) if is_turned else (height, width)
    return ImageHeader(image.format or "", size, image.mode, orientation)


def _exif(image: Image.Image) -> bytes:
    text = image.info.get("Raw profile type exif")  # as ImageMagick writes it in a PNG
    try:
        return image.info.get("exif") or bytes.fromhex("".join(str(text).split("\n")[3:]))
    except ValueError:
        return b""


def _is_animated(content: bytes) -> bool:
    """Return True if a WebP is animated. Source: WebP container specification, VP8X."""
    return content[12:16] == b"VP8X" and bool(content[20] & 2)


def _undecodable(where: str, error: Exception) -> ImageError:
    return ImageError(where, f"an image that cannot be decoded ({error})", "a complete image file")
