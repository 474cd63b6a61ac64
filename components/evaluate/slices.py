"""Slices of the test set: is the model as good on dark or large images as on the others?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluate.scoring import ImageScores
from segmentor.metrics import dataset_iou

# List the worst groups only: a reader takes in no more.
MAX_GROUPS = 12
PARTS = ("low", "middle", "high")


@dataclass(frozen=True)
class Slice:
    """A part of the images, and the data-set IoU on it."""

    by: str
    name: str
    images: int
    iou: float


def slices(images: Sequence[ImageScores], is_binary: bool) -> tuple[Slice, ...]:
    """Slices by group (the worst ones), brightness, image size, and share of foreground."""
    parts = [
        Slice(by, name, len(members), _iou(members, is_binary))
        for by, name, members in _members(images, is_binary)
    ]
    groups = sorted((p for p in parts if p.by == "group"), key=_worst_first)[:MAX_GROUPS]
    return (*groups, *(p for p in parts if p.by != "group"))


def _members(
    images: Sequence[ImageScores], is_binary: bool
) -> Iterator[tuple[str, str, list[ImageScores]]]:
    groups: dict[str, list[ImageScores]] = {}
    for image in images:
        groups.setdefault(image.group, []).append(image)
    if len(groups) < len(images):  # else they are the images, which have a table of their own
        for name, members in groups.items():
            yield "group", name, members
    yield from _thirds("brightness", images, [image.brightness for image in images])
    megapixels = [image.size[0] * image.size[1] / 1e6 for image in images]
    yield from _thirds("megapixels", images, megapixels)
    if is_binary:
        shares = [image.foreground_share for image in images]
        yield from _thirds("share of foreground", images, shares)


def _thirds(
    by: str, images: Sequence[ImageScores], values: Sequence[float]
) -> Iterator[tuple[str, str, list[ImageScores]]]:
    """Yield up to three parts of equal size by value; none when all values are equal."""
    known = np.array(values)
    edges = np.quantile(known, [1 / 3, 2 / 3])
    part = np.digitize(known, edges, right=True)
    if known.min() == known.max():
        return
    for index, name in enumerate(PARTS):
        members = [image for image, p in zip(images, part, strict=True) if p == index]
        if members:
            low, high = known[part == index].min(), known[part == index].max()
            yield by, f"{name}: {low:.3g} to {high:.3g}", members


def _iou(images: Sequence[ImageScores], is_binary: bool) -> float:
    return dataset_iou(np.sum([image.confusion for image in images], axis=0), is_binary)


def _worst_first(part: Slice) -> tuple[float, str]:
    return (2.0 if np.isnan(part.iou) else part.iou, part.name)
