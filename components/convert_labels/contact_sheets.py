"""Contact sheets of the label report: images with their mask over them, a few of each class."""

import heapq
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.dataset import Dataset, Sample
from segmentor.digests import digest_bytes
from segmentor.masks import overlay, resize_mask
from segmentor.report import Report

PICTURES_OF_A_CLASS = 4
PICTURE_WIDTH = 420


def sheets(report: Report, dataset: Dataset) -> None:
    """Adds a section with pictures of each class."""
    report.section("How the masks look", "Images with their mask over them, chosen by class.")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        classes = [
            (index, [(sample.id, pool.submit(picture, dataset, sample)) for sample in chosen])
            for index, chosen in _chosen(dataset)
        ]
        for index, pictures in classes:
            report.paragraph(f"With '{dataset.label_map.names[index]}':")
            report.pictures((name, picture.result()) for name, picture in pictures)


def _chosen(dataset: Dataset) -> Iterator[tuple[int, list[Sample]]]:
    """Chooses a few samples of each class; the digest of the id makes it random but repeatable."""
    classes = len(dataset.label_map)
    best: list[list[tuple[str, int, Sample]]] = [[] for _ in range(classes)]
    for number, sample in enumerate(dataset.iter_samples()):
        for index, count in enumerate(sample.class_pixels):
            if count:
                rank = digest_bytes(f"{index} {sample.id}".encode())
                heapq.heappush(best[index], (rank, number, sample))
                if len(best[index]) > PICTURES_OF_A_CLASS:
                    heapq.heappop(best[index])
    only = classes > 1 and dataset.label_map.names[0] == "background"
    for index in range(1 if only else 0, classes):
        if best[index]:
            yield index, [sample for _, _, sample in sorted(best[index], key=lambda e: e[1])]


def picture(dataset: Dataset, sample: Sample) -> NDArray[np.uint8]:
    """Returns an image with its mask over it, made small: RGB uint8 (H, W, 3)."""
    width = min(PICTURE_WIDTH, sample.width)
    height = max(1, round(sample.height * width / sample.width))
    image = dataset.image(sample, at_least=(height, width))
    image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return overlay(image, resize_mask(dataset.mask(sample), (height, width)), dataset.label_map)
