"""What the two JSON formats share: finding and loading their files, and run lengths."""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.convert_labels.run_lengths import unpack_counts
from components.convert_labels.source_files import SourceFile, SourceFiles
from segmentor.errors import DataError, MaskError
from segmentor.label_map import Colour, voc_palette

_FOLDER = "annotations"


def annotation_files(files: SourceFiles, keys: set[str]) -> list[SourceFile]:
    """Returns the JSON files, at the top or in `annotations/`, in which all these keys occur.

    The text is searched, not parsed: large files are parsed once, by their reader.
    """
    return [
        files[name]
        for name in sorted(files)
        if name.lower().endswith(".json")
        and name.count("/") <= 1
        and (("/" not in name) or name.startswith(_FOLDER + "/"))
        and _has_keys(files[name].read(), keys)
    ]


def load(file: SourceFile, keys: set[str]) -> dict[str, Any]:
    """Loads a JSON object that has these keys.

    Raises:
        DataError: no JSON, or no such object.
    """
    try:
        value = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise DataError(
            file.name, f"broken JSON ({error})", "a complete file", "export it again"
        ) from error
    if not isinstance(value, dict) or not keys <= set(value):
        raise DataError(file.name, "no such object", f"keys {', '.join(sorted(keys))}")
    return value


def objects(value: Any, where: str) -> Iterator[dict[str, Any]]:
    """Yields the objects of a list.

    Raises:
        DataError: no list of objects.
    """
    if not isinstance(value, list):
        raise DataError(where, type(value).__name__, "a list")
    for item in value:
        if not isinstance(item, dict):
            raise DataError(where, repr(item)[:40], "a list of objects")
        yield item


def run_values(rle: dict[str, Any], where: str) -> NDArray[np.float64]:
    """Returns the values of a Shape of kind 'rle', from COCO's packed or plain counts.

    Raises:
        MaskError: no size, or counts that cannot be read.
    """
    counts, size = rle.get("counts"), rle.get("size")
    if not isinstance(size, list) or len(size) != 2:
        raise MaskError(where, f"run lengths of size {size!r}", "[height, width]")
    if isinstance(counts, str):
        if not counts.isascii():
            raise MaskError(where, "packed run lengths that cannot be read", "COCO's counts")
        runs = unpack_counts(counts.encode(), where).astype(np.float64)
    else:
        runs = numbers(counts, where)
    return np.concatenate([numbers(size, where), runs])


def numbers(value: Any, where: str) -> NDArray[np.float64]:
    """Returns a list of numbers as an array.

    Raises:
        MaskError: another value.
    """
    if not isinstance(value, list) or not all(
        isinstance(item, int | float) and not isinstance(item, bool) for item in value
    ):
        raise MaskError(where, f"coordinates {repr(value)[:60]}", "a list of numbers")
    try:
        return np.array(value, np.float64)
    except OverflowError as error:
        raise MaskError(where, "a number too large", "pixels") from error


def _has_keys(content: bytes, keys: set[str]) -> bool:
    return all(re.search(b'"%b"\\s*:' % key.encode(), content) for key in keys)


def palette_colour(position: int) -> Colour:
    """Returns a colour for a format that has none: the VOC palette's."""
    red, green, blue = (int(value) for value in voc_palette()[position % 256])
    return red, green, blue
