"""Images of a file or folder, one after the other: a bad one does not keep the others waiting."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from segmentor.errors import DataError, Problem
from segmentor.image_io import EXTENSIONS

T = TypeVar("T")


def predict_each(source: Path, output: Path, predict: Callable[[Path, Path], T]) -> Iterator[T]:
    """Predict every image of a file or folder; yield what `predict` returns.

    Args:
        source: An image, or a folder of images.
        output: `a/b.jpg` of a folder becomes `<output>/a/b.jpg`, whose suffix `predict` replaces.
        predict: Takes an image's path and that target.

    Raises:
        DataError: no image at `source`, or, after the others are done, unreadable images.
    """
    images = find_images(source)
    root = source if source.is_dir() else source.parent
    problems = []
    for image in images:
        try:
            yield predict(image, output / image.relative_to(root))
        except DataError as error:
            problems.append(Problem.of(str(image.relative_to(root)), error))
    if problems:
        remedy = "the other images are done" if len(problems) < len(images) else ""
        raise DataError.collected(str(source), problems, remedy)


def find_images(source: Path) -> list[Path]:
    """Return the file itself, or every image below a folder, sorted.

    Raises:
        DataError: nothing there, or two images whose results would have one name.
    """
    if not source.exists():
        raise DataError(str(source), "no such file or folder", "an image or a folder of images")
    if source.is_file():
        return [source]
    images = sorted(
        path for path in source.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file()
    )
    if not images:
        raise DataError(str(source), "no image", f"files that end in {', '.join(EXTENSIONS)}")
    stems: dict[Path, Path] = {}
    for image in images:
        other = stems.setdefault(image.with_suffix(""), image)
        if other != image:
            raise DataError(
                str(image), f"the same name as {other.name}", "one image a name", "rename one"
            )
    return images
