"""Encoded images to pixels and back: the one place that knows formats and orientation."""

import ctypes
import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass

import cv2
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

# Pillow tries some forty decoders otherwise, several of them risky on hostile input.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
# 12,000 x 9,000 photographs pass; a decompression bomb does not.
MAX_PIXELS = 200_000_000

# The limit is ours (MAX_PIXELS, an error): Pillow's own is a warning that is easy to miss.
Image.MAX_IMAGE_PIXELS = None


def _tame_libtiff() -> None:
    """Has libtiff print nothing, and read few scans of a JPEG within a TIFF.

    It would print a line for every damaged row; we raise an error. Its own limit is 100 scans of
    an image of any size; writers make one to three.
    """
    os.environ.setdefault("LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER", "20")
    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):  # not where Pillow hides its libtiff, or has none
            getattr(library, name)(ctypes.c_void_p(None))


_tame_libtiff()

# Pillow stretches grey of 2 and 4 bits to 0..255: what it multiplies by, by the file's own mode.
_STRETCHED = {"L;2": 85, "L;4": 17}
_EXIF_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)
# OpenCV's codes, after transposing: 0 turns the rows about, 1 the columns, -1 both.
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
# Pillow takes 16 bytes a pixel of a WebP: libwebp's canvases for animations, and its own copies.
_MAX_ANIMATED_PIXELS = 1 << 25
# OpenCV reads no shorter WebP; what follows the image is ignored.
_LEAST_WEBP_BYTES = 32
# Larger images become an array band by band: Pillow's own copies would triple the memory.
_BAND_PIXELS = 1 << 22


@dataclass(frozen=True)
class ImageHeader:
    """What the header says, before any pixel is decoded; `size` is (height, width) as displayed."""

    format: str
    size: tuple[int, int]
    mode: str
    orientation: int


def read_header(content: bytes, where: str = "image", max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Reads format, size as displayed (EXIF applied) and mode; decodes nothing.

    Raises:
        ImageError: not an image of a known format, or more than `max_pixels`.
    """
    with _open(content, where, max_pixels) as image:
        return _header(image, content, where)


def decode_image(
    content: bytes,
    where: str = "image",
    max_pixels: int = MAX_PIXELS,
    at_least: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Decodes an image to RGB uint8 (H, W, 3), 0..255, upright.

    Alpha is dropped, grey and palette are expanded, 16 bits become 8, EXIF orientation is applied.

    Args:
        content: The encoded file.
        where: What to call it in errors.
        max_pixels: Larger images are refused from the header, before they take memory.
        at_least: A (height, width) that is enough. A JPEG at least twice as large in both is
            decoded at 1/2, 1/4 or 1/8 of its size, which is several times faster.

    Raises:
        ImageError: unknown format, truncated or corrupt data, or too many pixels.
    """
    return decode_with_size(content, where, max_pixels, at_least)[0]


def decode_with_size(
    content: bytes,
    where: str = "image",
    max_pixels: int = MAX_PIXELS,
    at_least: tuple[int, int] | None = None,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Does what `decode_image` does, and returns the source's (height, width), upright, as well."""
    with _open(content, where, max_pixels) as image:
        header = _header(image, content, where)
        try:
            if at_least is not None and header.format == "JPEG":
                height, width = at_least[::-1] if header.orientation in _TRANSPOSED else at_least
                image.draft("RGB", (width, height))
            is_still = header.format == "WEBP" and not _is_animated(content)
            pixels = _webp_to_rgb(content) if is_still else _to_rgb(image)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _undecodable(where, error) from error
        image.close()  # its memory goes before the array is turned
    # Pillow turns a TIFF itself when it loads the pixels.
    if header.orientation > 1 and header.format != "TIFF":
        pixels = _upright(pixels, header.orientation)
    return pixels, header.size


def decode_index(
    content: bytes, where: str = "mask", max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decodes a one-channel PNG (grey or palette) of 1, 2, 4 or 8 bits to its raw values.

    Returns uint8 (H, W): of 1 bit 0 and 1, of 4 bits 0..15.

    Raises:
        ImageError: not one channel of at most 8 bits, or not decodable.
    """
    with _open(content, where, max_pixels) as image:
        if image.mode not in ("1", "L", "P"):
            raise ImageError(where, f"a {image.mode} image", "one channel of 8 bits")
        stretch = _STRETCHED.get(_raw_mode(image), 1)
        try:
            values = np.asarray(image).astype(np.uint8, copy=False)
            return values // np.uint8(stretch) if stretch > 1 else values
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _undecodable(where, error) from error


def encode_png(pixels: NDArray[np.uint8], compress_level: int = 1) -> bytes:
    """Encodes uint8 (H, W) or (H, W, 3) as PNG; level 1 is 5x faster than 6 and a few % larger."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def encode_index(indices: NDArray[np.uint8]) -> bytes:
    """Encodes uint8 (H, W) of class indices as an 8-bit grey PNG.

    Pillow tries five filters on each row, which suits photographs: for masks it takes five times
    as long and ends larger. Here rows are unfiltered and zlib looks for runs alone, with tables
    (memLevel 6) that it need not move about in the cache: half the time of 9, and no larger.

    Source: Portable Network Graphics specification, sections 5.3 (chunks), 9.2 and 11.2.2 (IHDR).
    """
    height, width = indices.shape
    rows = np.zeros((height, width + 1), np.uint8)  # the first byte of a row is its filter, 0: none
    rows[:, 1:] = indices
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 6, zlib.Z_RLE)
    data = packer.compress(rows.data) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 85) -> bytes:
    """Encodes RGB uint8 (H, W, 3) as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _open(content: bytes, where: str, max_pixels: int) -> Image.Image:
    try:
        check_structure(content, where)
        with warnings.catch_warnings():
            # Damaged EXIF or TIFF tags do not hurt the pixels.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        found = "no data" if not content else "data that is no image of a known format"
        raise ImageError(where, found, "JPEG, PNG, WebP, BMP or TIFF") from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise ImageSizeError(where, f"{width} x {height} pixels", f"at most {max_pixels:,} pixels")
    if image.format == "WEBP" and _is_animated(content) and width * height > _MAX_ANIMATED_PIXELS:
        image.close()
        found = f"an animated WebP of {width} x {height} pixels"
        raise ImageSizeError(where, found, f"at most {_MAX_ANIMATED_PIXELS:,} pixels")
    check_run_length(image, content, where)
    return image


def _raw_mode(image: Image.Image) -> str:
    """Returns how the file packs its pixels; Pillow forgets it when they are loaded."""
    tiles = getattr(image, "tile", ())
    packing = tiles[0][3] if tiles else ""
    return str(packing[0] if isinstance(packing, tuple) else packing)


def _header(image: Image.Image, content: bytes, where: str) -> ImageHeader:
    if image.format == "PNG" and "exif" not in image.info and b"eXIf" in content:
        image.info["exif"] = late_exif(content)
    check_tags(_exif(image), where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Of the base class: a PNG's own decodes all pixels when there is no EXIF before them.
            orientation = int(Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError):
        orientation = 1
    width, height = image.size
    # The size of a TIFF is as displayed already.
    is_turned = orientation in _TRANSPOSED and image.format != "TIFF"
    size = (width, height) if is_turned else (height, width)
    return ImageHeader(image.format or "", size, image.mode, orientation)


def _exif(image: Image.Image) -> bytes:
    text = image.info.get("Raw profile type exif")  # as ImageMagick writes it in a PNG
    try:
        return image.info.get("exif") or bytes.fromhex("".join(str(text).split("\n")[3:]))
    except ValueError:
        return b""


def _is_animated(content: bytes) -> bool:
    """Says whether a WebP is. Source: WebP container specification, extended file format."""
    return content[12:16] == b"VP8X" and bool(content[20] & 2)


def _webp_to_rgb(content: bytes) -> NDArray[np.uint8]:
    """Decodes a still WebP by OpenCV: the same pixels in half the memory and the time."""
    data = np.frombuffer(content.ljust(_LEAST_WEBP_BYTES, b"\0"), np.uint8)
    # Turned it is with all other formats.
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError("damaged WebP data")
    return np.asarray(pixels, np.uint8)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("I", "F"):
        # What is white in them, nobody knows: a conversion would give black, or white, at a guess.
        raise ValueError("32 bits a pixel and channel, 8 or 16 are known")
    image.load()
    width, height = image.size
    if width * height <= _BAND_PIXELS:
        return _band_to_rgb(image)
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = _band_to_rgb(image.crop((0, top, width, bottom)))
    return pixels


def _band_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        # 16-bit grey: 65535 -> 255. Pillow's own convert() would clip everything above 255.
        grey = (np.asarray(image).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turns and mirrors (H, W, 3) as EXIF's orientation says: 2..8, others leave it.

    By OpenCV, which is five times as fast as numpy's or Pillow's copies.
    """
    if orientation in _TRANSPOSED:
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)
    if orientation in _FLIPS:
        flipped = pixels if orientation in _TRANSPOSED else None  # in place: it is a copy already
        pixels = np.asarray(cv2.flip(pixels, _FLIPS[orientation], flipped), np.uint8)
    return pixels


def _undecodable(where: str, error: Exception) -> ImageError:
    return ImageError(where, f"an image that cannot be decoded ({error})", "a complete image file")
