"""Annotations of a JSON file, put in the order of its images in memory that hardly grows."""

import json
import tempfile
from array import array
from typing import Any, Self

import numpy as np


class AnnotationsByImage:
    """Keep annotations in a temporary file, and 16 bytes of each in memory.

    COCO lists them apart from the images, in any order. Use it as a context manager.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._images = array("q")
        self._ends = array("q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, image: int, record: Any) -> None:
        """Append an annotation, any JSON value, of the image of this number."""
        line = json.dumps(record).encode()
        self._file.write(line)
        self._images.append(image)
        self._ends.append(self._ends[-1] + len(line))

    def sort(self) -> None:
        """Make `of` possible; nothing is added after it."""
        self._file.flush()
        images = np.frombuffer(self._images, np.int64)
        self._order = np.argsort(images, kind="stable")
        self._sorted = images[self._order]

    def of(self, image: int) -> tuple[bytes, ...]:
        """Return the annotations of an image as JSON, in the order they were added."""
        begin, end = np.searchsorted(self._sorted, [image, image + 1])
        return tuple(self._read(position) for position in self._order[begin:end].tolist())

    def _read(self, position: int) -> bytes:
        start = self._ends[position]
        self._file.seek(start)
        return self._file.read(self._ends[position + 1] - start)
