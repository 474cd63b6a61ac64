"""Images that look the same are found, in memory that does not grow with their number."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np

from segmentor import near_duplicates
from segmentor.dataset import Dataset
from segmentor.dataset_writer import DatasetWriter
from segmentor.image_io import encode_png
from segmentor.label_map import LabelMap
from segmentor.near_duplicates import near_duplicates_of

LABELS = LabelMap.of(["background", "road"])


def look_alikes(folder: Path, count: int) -> tuple[Dataset, np.ndarray]:
    """Write pictures that differ in noise; their hashes, of one bit each, are given."""
    folder.mkdir()
    random = np.random.default_rng(0)
    coarse = random.integers(0, 200, (6, 6, 3), dtype=np.uint8)
    plain = cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((48, 48), np.uint8)
    with DatasetWriter(folder, LABELS, {}) as writer:
        for number in range(count):
            noise = random.integers(0, 3, plain.shape, dtype=np.uint8)
            writer.add(f"{number:05d}", encode_png(plain + noise), mask, str(number))
    return Dataset(folder), np.uint64(1) << (np.arange(count) % 3).astype(np.uint64)


def peak_of(dataset: Dataset, hashes: np.ndarray) -> int:
    tracemalloc.start()
    try:
        assert len(near_duplicates_of(dataset, hashes)) >= len(dataset) - 1
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_near_duplicates(tmp_path: Path, monkeypatch) -> None:
    # Fewer are kept than either has, so that all that grows is a pair and an offset each.
    monkeypatch.setattr(near_duplicates, "_PICTURES", 64)
    few, many = (look_alikes(tmp_path / str(count), count) for count in (80, 320))
    for each in (few, many):
        near_duplicates_of(*each)  # imports what it needs, and finds where each line begins
    assert peak_of(*many) < peak_of(*few) + 240 * 300


def test_pictures_that_share_a_hash_and_nothing_else_are_no_pair(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    random = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "d", LABELS, {}) as writer:
        for number in range(3):
            pixels = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            mask = np.zeros((48, 48), np.uint8)
            writer.add(str(number), encode_png(pixels // (1 + number)), mask, "g")
    assert near_duplicates_of(Dataset(tmp_path / "d"), np.full(3, 9, np.uint64)) == []
