"""Palettes of masks: the colours that indices have in a file, which differ from file to file."""

import numpy as np
from numpy.typing import NDArray

from segmentor.label_map import IGNORE_INDEX, Colour

# The entries of a palette that a mask uses: pairs of an index and its colour.
Palette = tuple[tuple[int, Colour], ...]
# Up to here a grey counts as black, and from there on as white.
_BLACK, _WHITE = 32, 223


def used_palette(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Palette:
    """Return the entries that a mask uses; an index beyond the palette has no colour."""
    counts = np.bincount(indices.ravel(), minlength=256)
    used = [index for index in np.flatnonzero(counts).tolist() if index < len(colours)]
    return tuple((index, _colour(colours[index])) for index in used)


def seen_as_binary(raw: NDArray[np.generic], palette: Palette) -> NDArray[np.generic]:
    """Return a mask of black and white as it is seen, 0 and 255; any other as it is.

    Writers order a palette as they like: white may be index 0.
    """
    if not palette or not all(_is_black(c) or _is_white(c) for _, c in palette):
        return raw
    table = np.zeros(256, np.uint8)
    table[[index for index, colour in palette if _is_white(colour)]] = IGNORE_INDEX
    return np.asarray(table[np.asarray(raw, np.uint8)])


def is_reordered(palette: Palette) -> bool:
    """Return True where index 0 is not black and another index is: 0 may not be background."""
    colours = dict(palette)
    return 0 in colours and not _is_black(colours[0]) and any(_is_black(c) for _, c in palette)


def _is_black(colour: Colour) -> bool:
    return max(colour) <= _BLACK


def _is_white(colour: Colour) -> bool:
    return min(colour) >= _WHITE


def _colour(values: NDArray[np.uint8]) -> Colour:
    red, green, blue = (int(value) for value in values)
    return red, green, blue
