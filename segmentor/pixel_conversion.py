"""Pixels of opened image files as RGB uint8 (H, W, 3): JPEG, WebP, palettes and 16 bits."""

from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

# The value of white in a 16-bit file, unless the model's contract says otherwise (`white`).
WHITE = 65535
# EXIF orientations that swap width and height.
TRANSPOSED = (5, 6, 7, 8)
# OpenCV's flip codes, applied after transposing: 0 flips the rows, 1 the columns, -1 both.
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
# OpenCV refuses shorter WebPs, and ignores what follows the image.
_LEAST_WEBP_BYTES = 32
# Larger images are converted band by band, because Pillow's own copies would triple the memory.
_BAND_PIXELS = 1 << 22


def jpeg_to_rgb(
    content: bytes, image: Image.Image, at_least: tuple[int, int] | None
) -> NDArray[np.uint8]:
    """Decode a JPEG by libjpeg-turbo, whose warnings of damaged data Pillow ignores.

    The pixels are those of Pillow, reduced to 1/2, 1/4 or 1/8 if that leaves `at_least`.
    """
    width, height = image.size
    is_readable, is_cmyk = _has_known_subsampling(content), image.mode == "CMYK"
    if is_cmyk or not is_readable:
        if is_readable:  # for its errors: Pillow knows whether the colours are inverted
            simplejpeg.decode_jpeg(content, "CMYK", strict=True)
        if at_least is not None:
            image.draft("RGB", at_least[::-1])
        return to_rgb(image, WHITE)
    scale = min(height // at_least[0], width // at_least[1]) if at_least else 1
    factor = next(factor for factor in (8, 4, 2, 1) if factor <= max(1, scale))
    pixels = simplejpeg.decode_jpeg(
        content,
        "RGB",
        min_height=-(-height // factor),
        min_width=-(-width // factor),
        strict=True,
    )
    return np.asarray(pixels, np.uint8)


def _has_known_subsampling(content: bytes) -> bool:
    """Return False for the few JPEGs whose subsampling libjpeg-turbo's API cannot name."""
    try:
        simplejpeg.decode_jpeg_header(content, strict=False)
    except ValueError:
        return False
    return True


def webp_to_rgb(content: bytes) -> NDArray[np.uint8]:
    """Decode a still WebP by OpenCV: the same pixels in half the memory and the time."""
    data = np.frombuffer(content.ljust(_LEAST_WEBP_BYTES, b"\0"), np.uint8)
    # The EXIF rotation is applied later, as for every format.
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError("damaged WebP data")
    return np.asarray(pixels, np.uint8)


def to_rgb(image: Image.Image, white: int) -> NDArray[np.uint8]:
    """Convert what Pillow decodes, band by band, so that a large image needs no second copy."""
    if image.mode in ("I", "F"):
        # Nobody knows which value is white in them, so a conversion would be a guess.
        raise ValueError("32 bits a pixel and channel, 8 or 16 are known")
    image.load()
    width, height = image.size
    if width * height <= _BAND_PIXELS:
        return _band_to_rgb(image, white)
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = _band_to_rgb(image.crop((0, top, width, bottom)), white)
    return pixels


def _band_to_rgb(image: Image.Image, white: int) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        # Pillow's own convert() would clip everything above 255.
        grey = to_8_bits(np.asarray(image), white)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def to_8_bits(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Scale 0..white to 0..255; for 65535 the result is the higher byte, rounded."""
    clipped = np.minimum(values.astype(np.uint32), np.uint32(white))
    return np.asarray(clipped * np.uint32(255) // np.uint32(white), np.uint8)


def has_16_bit_colours(image: Image.Image) -> bool:
    """Return True for several 16-bit channels, of which Pillow keeps only the higher bytes."""
    return not image.mode.startswith("I") and ";16" in raw_mode(image)


def read_16_bits(content: bytes) -> NDArray[np.uint16]:
    """Read RGB uint16 (H, W, 3) by OpenCV; alpha is dropped, grey is expanded."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise ValueError("16 bits a channel that OpenCV cannot read")
    if values.ndim == 2:
        return np.asarray(np.repeat(values[:, :, None], 3, axis=2), np.uint16)
    return np.asarray(values[:, :, 2::-1], np.uint16)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Rotate and flip (H, W, 3) as EXIF orientations 2..8 say; other values change nothing.

    OpenCV is five times as fast as numpy's or Pillow's copies.
    """
    if orientation in TRANSPOSED:
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)
    if orientation in _FLIPS:
        # In place if it is already a copy.
        flipped = pixels if orientation in TRANSPOSED else None
        pixels = np.asarray(cv2.flip(pixels, _FLIPS[orientation], flipped), np.uint8)
    return pixels


def raw_mode(image: Image.Image) -> str:
    """Return how the file packs its pixels; Pillow forgets it when they are loaded."""
    tiles = getattr(image, "tile", ())
    packing = tiles[0][3] if tiles else ""
    return str(packing[0] if isinstance(packing, tuple) else packing)
