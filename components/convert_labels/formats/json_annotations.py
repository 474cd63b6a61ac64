"""What the two JSON formats share: finding and streaming their files, and run lengths."""

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import ijson
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.run_lengths import unpack_counts
from components.convert_labels.source.files import SourceFile, SourceFiles
from segmentor.errors import DataError, MaskError

_FOLDER = "annotations"
# Bytes searched at once, and bytes searched again because a key may span two parts.
_PART_BYTES = 1 << 16
_OVERLAP_BYTES = 64
# Depth of nested lists and objects: annotations have half a dozen levels.
MAX_DEPTH = 100
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_SIGNS = bytes(set(range(256)) - set(b'"[]{}'))
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def has_annotations(files: SourceFiles, keys: set[str]) -> bool:
    """Return True when all these keys occur in a JSON file at the top or in `annotations/`.

    The text is searched, not parsed, a part at a time.
    """
    return any(not _missing_keys(files[name], keys) for name in _json_names(files))


def annotation_files(
    files: SourceFiles, keys: set[str], is_other: Callable[[str], bool] = lambda name: False
) -> list[SourceFile]:
    """Return the JSON files, at the top or in `annotations/`, in which all these keys occur.

    Args:
        files: The export's.
        keys: What a file of the format has.
        is_other: True for the name of a file that is left out, whatever it has.

    Raises:
        DataError: a file has only some of the keys, or is among annotations and has none: one that
            is cut short would be left out with all its images.
    """
    found = []
    for name in _json_names(files):
        if is_other(name):
            continue
        missing = _missing_keys(files[name], keys)
        if not missing:
            _refuse_deep(files[name])
            found.append(files[name])
        elif missing != keys or name.startswith(_FOLDER + "/"):
            lacking = " and no ".join(f"'{key}'" for key in sorted(missing))
            expected, remedy = "a complete annotation file", "export again, or take it out"
            raise DataError(name, f"no {lacking}", expected, remedy)
    return found


def _json_names(files: SourceFiles) -> list[str]:
    """Return JSON files at the top or in `annotations/`; without any, one in each other folder.

    Roboflow writes the latter: `train/_annotations.coco.json`, beside the images of train.
    """
    names = sorted(name for name in files if name.lower().endswith(".json"))
    near = [name for name in names if "/" not in name.removeprefix(_FOLDER + "/")]
    if near:
        return near
    inside = [name for name in names if name.count("/") == 1]
    folders = [name.partition("/")[0] for name in inside]
    return inside if len(set(folders)) == len(folders) else []


def first_value(file: SourceFile, key: str) -> Any:
    """Return the value of a key of the file's object, whole.

    Raises:
        DataError: no JSON, or no such key.
    """
    for value in _stream(file, key):
        return value
    raise DataError(file.name, f"no '{key}' at its top", "what CVAT exports")


def objects(file: SourceFile, key: str) -> Iterator[dict[str, Any]]:
    """Stream the objects of a list, `key` of the file's object, one in memory at a time.

    Raises:
        DataError: no JSON, or something else than objects in the list.
    """
    for item in _stream(file, f"{key}.item"):
        if not isinstance(item, dict):
            raise DataError(f"{file.name}: {key}", repr(item)[:40], "a list of objects")
        yield item


def listed(value: Any, where: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list that is in memory.

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
    """Return the values of a Shape of kind 'rle', from COCO's packed or plain counts.

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
    """Return a list of numbers as an array.

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


def _stream(file: SourceFile, prefix: str) -> Iterator[Any]:
    try:
        with file.open() as stream:
            start = stream.read(3)
            mark = b"" if start == codecs.BOM_UTF8 else start
            yield from ijson.items(_Rejoined(mark, stream), prefix, use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:80]
        raise DataError(
            file.name, f"broken JSON ({reason})", "a complete file", "export it again"
        ) from error


class _Rejoined:
    """A stream with what was read of it put back in front."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        self._start, self._stream = start, stream

    def read(self, size: int = -1) -> bytes:
        if not size:
            return b""
        start, self._start = self._start, b""
        return start or self._stream.read(size)


def _missing_keys(file: SourceFile, keys: set[str]) -> set[str]:
    missing = {key: re.compile(b'"%b"\\s*:' % key.encode()) for key in keys}
    tail = b""
    with file.open() as stream:
        while missing and (part := stream.read(_PART_BYTES)):
            text = tail + part
            missing = {k: pattern for k, pattern in missing.items() if not pattern.search(text)}
            tail = text[-_OVERLAP_BYTES:]
    return set(missing)


def _refuse_deep(file: SourceFile) -> None:
    """Refuse lists in lists in lists: a parser's memory grows with the square of their depth."""
    depth, rest = 0, b""
    with file.open() as stream:
        # Read as much again while a string goes on, so that it is searched at most twice.
        while part := stream.read(max(_PART_BYTES, len(rest))):
            # What follows a backslash must stay where it is.
            text = rest + (part if b"\\" in rest + part else part.translate(None, _NO_SIGNS))
            text, quote, rest = _STRING.sub(b"", text).partition(b'"')
            rest = quote + rest
            levels = depth + np.cumsum(_STEPS[np.frombuffer(text, np.uint8)], dtype=np.int64)
            if levels.max(initial=0) > MAX_DEPTH:
                found = f"broken JSON (nested deeper than {MAX_DEPTH})"
                raise DataError(file.name, found, "what CVAT exports", "export it again")
            depth = int(levels[-1]) if levels.size else depth
