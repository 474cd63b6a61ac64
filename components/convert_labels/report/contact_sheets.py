"""Contact sheets of the label report: images with their mask over them, a few of each class."""

import heapq
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import Dataset, Sample
from segmentor.digests import digest_bytes
from segmentor.masks import overlay, resize_mask
from segmentor.report import Report

PICTURES_OF_A_CLASS = 4
# Limit for all classes together: the pipelines UI loads the page whole, and 60 take 3 MB.
MAX_PICTURES = 60
PICTURE_WIDTH = 420


@dataclass(frozen=True)
class _Sheet:
    """The pictures that are shown for one class, and the names of those that are shown before."""

    class_name: str
    samples: Sequence[Sample]
    above: Sequence[str]


def sheets(report: Report, dataset: Dataset) -> None:
    """Add a section with pictures of each class, each picture once."""
    chosen, left_out = _chosen(dataset)
    report.section(
        "How the masks look",
        "Images with their mask over them, chosen by class, the rarest first; each is shown once.",
    )
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        drawn = [[pool.submit(picture, dataset, s) for s in sheet.samples] for sheet in chosen]
        for sheet, pictures in zip(chosen, drawn, strict=True):
            above = f"{', '.join(sheet.above)} above"
            if not pictures:
                report.paragraph(f"With '{sheet.class_name}': {above}.")
            else:
                also = f" (also {above})" if sheet.above else ""
                report.paragraph(f"With '{sheet.class_name}'{also}:")
                names = [sample.id for sample in sheet.samples]
                results = (picture.result() for picture in pictures)
                report.pictures(zip(names, results, strict=True))
    if left_out:
        unseen = ", ".join(f"'{name}'" for name in left_out)
        report.paragraph(
            f"Not shown, as the page would be too large: {unseen}. "
            "`segmentor dataset view` shows them."
        )


def _chosen(dataset: Dataset) -> tuple[list[_Sheet], list[str]]:
    """Choose a few samples of each class, and say which classes there is no room for.

    What was chosen for a rarer class counts for the others that it shows.
    """
    label_map = dataset.label_map
    candidates, images = _candidates(dataset)
    only = len(label_map) > 1 and label_map.names[0] == "background"
    shown: dict[str, Sample] = {}
    chosen, left_out = [], []
    for index in sorted(range(1 if only else 0, len(label_map)), key=images.__getitem__):
        above = [name for name, sample in shown.items() if sample.class_pixels[index]]
        room = min(PICTURES_OF_A_CLASS - len(above), MAX_PICTURES - len(shown))
        new = [sample for sample in candidates[index] if sample.id not in shown][: max(0, room)]
        if new or above:
            name = label_map.names[index]
            chosen.append(_Sheet(name, new, above[:PICTURES_OF_A_CLASS]))
        elif images[index]:
            left_out.append(label_map.names[index])
        shown |= {sample.id: sample for sample in new}
    return chosen, left_out


def _candidates(dataset: Dataset) -> tuple[list[list[Sample]], list[int]]:
    """Return a few samples of each class, and in how many images it is.

    The digest of the id makes the choice random but repeatable.
    """
    classes = len(dataset.label_map)
    images = [0] * classes
    best: list[list[tuple[str, int, Sample]]] = [[] for _ in range(classes)]
    for number, sample in enumerate(dataset.iter_samples()):
        for index, count in enumerate(sample.class_pixels):
            if count:
                images[index] += 1
                rank = digest_bytes(f"{index} {sample.id}".encode())
                heapq.heappush(best[index], (rank, number, sample))
                if len(best[index]) > PICTURES_OF_A_CLASS:
                    heapq.heappop(best[index])
    in_order = [[sample for _, _, sample in sorted(few, key=lambda e: e[1])] for few in best]
    return in_order, images


def picture(dataset: Dataset, sample: Sample) -> NDArray[np.uint8]:
    """Return an image with its mask over it, made small: RGB uint8 (H, W, 3)."""
    width = min(PICTURE_WIDTH, sample.width)
    height = max(1, round(sample.height * width / sample.width))
    image = dataset.image(sample, at_least=(height, width))
    image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return overlay(image, resize_mask(dataset.mask(sample), (height, width)), dataset.label_map)
