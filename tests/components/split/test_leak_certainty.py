"""What the leak audit says where names tell no order, and where all pictures are alike."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from components.split.leak_audit import audit
from components.split.sample_table import SampleTable, read_table
from segmentor.dataset import Sample
from segmentor.perceptual_hash import perceptual_hash
from tests.components.split.split_builders import (
    ALL,
    executor_input,
    film,
    frame,
    picture,
    sample,
    split,
    warnings,
    write_dataset,
)

TORN = np.array([0, 0, 1, 0] * 5, np.int8)


def md5(number: int) -> str:
    return hashlib.md5(b"%d" % number).hexdigest()


def film_named(name: Callable[[int], str]) -> SampleTable:
    """A film of twenty frames, in an order that says nothing."""
    frames = [replace(one, id=name(n)) for n, one in enumerate(film("{}", 1, 20))]
    return read_table(frames, 3)


@pytest.mark.parametrize(
    "name",
    [
        lambda n: f"drive_{n:04d}_jpg.rf.{md5(n)}",
        lambda n: f"{md5(n).upper()}-drive_{n}",
        lambda n: f"{uuid.UUID(md5(n))}_{n:03d}",
        lambda n: f"img_{chr(97 + n // 26)}{chr(97 + n % 26)}",
        lambda n: f"{1714557600123456789 + n * 33333333}",
    ],
    ids=["roboflow", "hash before", "uuid", "letters", "nanoseconds"],
)
def test_frames_are_found_beside_hashes_and_in_the_order_of_letters(
    name: Callable[[int], str],
) -> None:
    found = audit(film_named(name), TORN)
    assert len(found.leaks) == 10
    assert all(leak.is_certain for leak in found.leaks)
    assert found.without_order == 0


def test_names_in_letters_are_in_order_across_the_subsets() -> None:
    subset = ["Test" if torn else "Train" for torn in TORN.tolist()]
    table = film_named(lambda n: f"{subset[n]}/img_{chr(97 + n)}")
    found = audit(replace(table, subsets=subset), TORN)
    assert len(found.leaks) == 10


@pytest.mark.parametrize("name", [md5, lambda n: str(uuid.UUID(md5(n)))], ids=["md5", "uuid"])
def test_images_whose_names_tell_no_order_are_counted(name: Callable[[int], str]) -> None:
    found = audit(film_named(name), TORN)
    assert not found.leaks
    assert found.without_order == 20


def test_the_report_claims_nothing_of_images_it_could_not_compare(tmp_path: Path) -> None:
    entries = [(md5(n), md5(n), "", frame(0, n), ALL) for n in range(20)]
    entries += [(f"photo_{n}", f"photo_{n}", "", picture(n), ALL) for n in range(20)]
    source = write_dataset(tmp_path / "dataset", entries)
    split(source, tmp_path, "--executor-input", executor_input(tmp_path))
    report = (tmp_path / "report.html").read_text()
    assert "no equal images" not in report
    assert 'class="notice neutral">Each split has each class. Whether neighbouring frames' in report
    assert "is not known for 20 of 40 images: their names tell no order." in report
    assert warnings(tmp_path) == []


def scan(random: np.random.Generator) -> NDArray[np.uint8]:
    """A bright disc on black, with a spot somewhere in it."""
    pixels = np.zeros((120, 160, 3), np.uint8)
    y, x = np.ogrid[:120, :160]
    disc = (y - 60) ** 2 + (x - 80) ** 2 < 45**2
    pixels[disc] = random.integers(112, 128, (int(disc.sum()), 1))
    spot_y, spot_x = 60 + random.integers(-25, 26), 80 + random.integers(-25, 26)
    pixels[(y - spot_y) ** 2 + (x - spot_x) ** 2 < 5**2] = 200
    return pixels


def page(random: np.random.Generator) -> NDArray[np.uint8]:
    """Lines of text of any length on white."""
    pixels = np.full((120, 160, 3), 250, np.uint8)
    for line in range(10, 110, 8):
        pixels[line : line + 3, 10 : 10 + random.integers(60, 140)] = 40
    return pixels


def still(random: np.random.Generator) -> NDArray[np.uint8]:
    """What a camera that stands still sees: one scene, with something here and there."""
    coarse = np.random.default_rng(5).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(coarse, 15, axis=0), 20, axis=1)
    y, x = random.integers(0, 100), random.integers(0, 140)
    pixels[y : y + 30, x : x + 30] = 128
    return pixels


@pytest.mark.parametrize("show", [scan, page, still])
@pytest.mark.parametrize("count", [10, 30])
def test_pictures_that_are_all_alike_are_not_stated_to_be_a_film(
    show: Callable[[np.random.Generator], NDArray[np.uint8]], count: int
) -> None:
    for seed in range(5):
        random = np.random.default_rng(seed)
        samples: list[Sample] = [
            sample(f"n{n}", perceptual_hash=perceptual_hash(show(random))) for n in range(count)
        ]
        found = audit(read_table(samples, 3), np.resize([0, 1], count).astype(np.int8))
        assert found.leaks
        assert not any(leak.is_certain for leak in found.leaks)


def test_a_few_scans_are_not_stated_to_be_a_film() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        samples = [sample(f"n{n}", perceptual_hash=perceptual_hash(scan(random))) for n in range(7)]
        found = audit(read_table(samples, 3), np.resize([0, 1], 7).astype(np.int8))
        assert not any(leak.is_certain for leak in found.leaks)
