"""WebP: the pixels that Pillow gives, in half of its memory."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmentor.errors import ImageError, ImageSizeError
from segmentor.image_io import decode_image, decode_with_size, read_header

RNG = np.random.default_rng(0)
MOST_BYTES_A_PIXEL = 8
# Peak growth of a process that has all libraries loaded: the file is in it too.
PEAK = """
import sys
from pathlib import Path
from segmentor.image_io import decode_image
def status(name): return int(Path("/proc/self/status").read_text().split(name)[1].split()[0]) * 1024
content = Path(sys.argv[1]).read_bytes()
decode_image(Path(sys.argv[2]).read_bytes())
before = status("VmRSS:")
height, width, _ = decode_image(content).shape
print((status("VmHWM:") - before) / height / width)
"""


def webp(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", **options)
    return buffer.getvalue()


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def animated(size: tuple[int, int] = (20, 30)) -> bytes:
    first, second = (RNG.integers(0, 256, (*size, 3), np.uint8) for _ in range(2))
    return webp(first, save_all=True, append_images=[Image.fromarray(second)], lossless=True)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("options", [{"quality": 60}, {"lossless": True, "exact": True}])
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (200, 301)])
def test_the_pixels_are_those_that_pillow_gives(channels, options, size):
    pixels = RNG.integers(0, 256, (*size, channels), np.uint8)
    pixels[:, ::3, 3:] = 0  # hidden pixels are pixels: alpha is dropped
    exif = Image.Exif()
    exif[0x0112] = 3  # in the other tests of orientation, all eight
    content = webp(pixels, exif=exif, **options)
    expected = by_pillow(content)[::-1, ::-1]
    np.testing.assert_array_equal(decode_image(content), expected)


def test_an_animated_one_gives_its_first_frame():
    content = animated()
    np.testing.assert_array_equal(decode_image(content), by_pillow(content))


def test_a_large_animated_one_is_refused_by_its_header():
    content = bytearray(animated())
    content[24:30] = struct.pack("<I", 8191)[:3] * 2  # the canvas; its frames stay small
    for read in (read_header, decode_image):
        with pytest.raises(ImageSizeError, match="an animated WebP of 8192 x 8192 pixels"):
            read(bytes(content))


def test_the_shortest_one_is_read():
    """28 bytes, by the specification: 1 x 1, no transforms, five codes of one symbol, 0."""
    bits = "000" + "1000" * 5
    data = b"\x2f" + bytes(4) + int(bits[::-1], 2).to_bytes(3, "little")
    content = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    content = b"RIFF" + struct.pack("<I", len(content)) + content
    np.testing.assert_array_equal(decode_image(content), by_pillow(content))


@pytest.mark.parametrize("options", [{"quality": 60}, {"lossless": True}])
def test_damaged_ones_are_refused_in_our_words_or_read_as_pillow_does(options, capfd):
    content = webp(RNG.integers(0, 256, (48, 64, 4), np.uint8), **options)
    refused = 0
    for _ in range(100):
        damaged = bytearray(content)
        for at in RNG.integers(0, len(content), 4):
            damaged[at] = RNG.integers(0, 256)
        try:
            pixels, size = decode_with_size(bytes(damaged))
        except ImageError:
            refused += 1
            continue
        np.testing.assert_array_equal(pixels, by_pillow(bytes(damaged)))
        assert pixels.shape[:2] == size
    assert 0 < refused < 100
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("channels", [3, 4])
def test_decoding_takes_no_more_than_is_promised(tmp_path, channels):
    large, small = tmp_path / "large.webp", tmp_path / "small.webp"
    tile = RNG.integers(0, 256, (256, 256, channels), np.uint8)
    small.write_bytes(webp(tile, lossless=True))
    large.write_bytes(webp(np.tile(tile, (14, 14, 1)), lossless=True, quality=0, method=0))
    command = [sys.executable, "-c", PEAK, str(large), str(small)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert float(done.stdout) < MOST_BYTES_A_PIXEL + 1  # the runtime's own comings and goings
