from dataclasses import dataclass

import numpy as np
import pytest

from components.evaluate.slices import MAX_GROUPS, slices


@dataclass(frozen=True)
class Image:
    """What slices read of an image's scores."""

    group: str
    size: tuple[int, int]
    brightness: float
    foreground_share: float
    confusion: np.ndarray


def image(group: str, hits: int, brightness: float = 0.5) -> Image:
    confusion = np.array([[100, 0], [100 - hits, hits]])
    return Image(group, (10, 20), brightness, hits / 200, confusion)


def test_dark_and_bright_images_are_told_apart() -> None:
    images = [image("a", 90, 0.1), image("b", 50, 0.5), image("c", 10, 0.9)]
    parts = {part.name: part for part in slices(images, True) if part.by == "brightness"}
    assert [part.iou for part in parts.values()] == pytest.approx([0.9, 0.5, 0.1])
    assert list(parts) == ["low: 0.1 to 0.1", "middle: 0.5 to 0.5", "high: 0.9 to 0.9"]


def test_a_property_that_all_images_share_gives_no_slice() -> None:
    parts = slices([image("a", 90), image("b", 50)], True)
    assert not any(part.by in ("megapixels", "brightness") for part in parts)


def test_the_worst_groups_come_first_and_no_more_than_can_be_read() -> None:
    groups = [part for part in slices([image(f"g{k // 2:02d}", k // 2) for k in range(80)], True)]
    groups = [part for part in groups if part.by == "group"]
    assert [part.name for part in groups] == [f"g{k:02d}" for k in range(MAX_GROUPS)]


def test_images_that_are_their_own_groups_are_listed_once() -> None:
    parts = slices([image(f"g{k}", k, k / 30) for k in range(9)], True)
    assert "group" not in {part.by for part in parts}


def test_slices_of_a_property_are_a_partition_of_the_images() -> None:
    images = [image("a", k, k / 30) for k in range(1, 20)]
    for by in ("brightness", "share of foreground"):
        assert sum(part.images for part in slices(images, True) if part.by == by) == len(images)
