"""Near duplicates and neighbouring frames: found, kept together, or warned of with pictures."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from components.split.leak_audit import Leak, audit, describe
from components.split.sample_table import SampleTable, read_table
from segmentor.image_io import decode_image, encode_jpeg
from segmentor.near_duplicates import hash_pairs, look_alike
from segmentor.perceptual_hash import perceptual_hash
from tests.components.split.split_builders import film, sample


def find_leaks(table: SampleTable, splits: np.ndarray) -> list[Leak]:
    return list(audit(table, splits).leaks)


def bits_apart(left: str, right: str) -> int:
    return (int(left, 16) ^ int(right, 16)).bit_count()


def test_the_audit_finds_the_leak_of_camvids_official_split(shared_data: Path) -> None:
    lists = shared_data / "camvid_mini" / "official_split"
    samples, splits = [], []
    for number, name in enumerate(("train", "val", "test")):
        for line in (lists / f"{name}.txt").read_text().splitlines():
            stem = Path(line.split()[0]).stem
            samples.append(sample(f"{name}/{stem}", subset=name))
            splits.append(number)
    assert len(samples) == 701
    leaks = find_leaks(read_table(samples, 3), np.array(splits, np.int8))
    pairs = {(samples[leak.left].id, samples[leak.right].id, leak.gap) for leak in leaks}
    assert ("train/0001TP_008520", "test/0001TP_008550", 30) in pairs


def test_a_split_by_sequence_leaks_nothing() -> None:
    samples = [sample(f"{drive}_{n:04d}") for drive in "ab" for n in range(10)]
    assert not find_leaks(read_table(samples, 3), np.repeat([0, 2], 10).astype(np.int8))


def test_distant_parts_of_one_sequence_are_no_leak() -> None:
    numbers = [*range(0, 100, 10), *range(5000, 5100, 10)]
    samples = [sample(f"a_{n}.x") for n in numbers]
    assert not find_leaks(read_table(samples, 3), np.repeat([0, 2], 10).astype(np.int8))
    assert len(find_leaks(read_table(samples, 3), np.array([0, 2] * 10, np.int8))) == 18


@pytest.mark.parametrize(
    "name",
    [
        "drive_{:06d}",
        "drive_{:06d}_cam0",
        "aachen_000000_{:06d}_leftImg8bit",
        "frame_{:06d}_1",
        "20240131235959123456789_{}_v2.1",
        "{:020d}",
    ],
)
def test_any_number_of_a_name_may_count_the_frames(name: str) -> None:
    splits = np.array([0, 0, 1, 0] * 5, np.int8)
    leaks = find_leaks(read_table(film(name, 1, 20), 3), splits)
    assert len(leaks) == 10
    assert all(leak.is_certain and leak.gap == 1 for leak in leaks)


def test_films_of_many_cameras_are_told_from_the_cameras() -> None:
    films = [film(f"drive_{{:06d}}_cam{camera}", camera, 20) for camera in range(12)]
    samples = [one for frames in films for one in frames]
    by_camera = np.repeat([0, 1, 2], 80).astype(np.int8)
    assert not find_leaks(read_table(samples, 3), by_camera)
    by_frame = np.tile(np.array([0, 0, 1, 0] * 5, np.int8), 12)
    leaks = find_leaks(read_table(samples, 3), by_frame)
    assert len([leak for leak in leaks if leak.is_certain]) == 120


@pytest.mark.parametrize(
    "name",
    [
        lambda n: f"2024-05-01T10-0{n // 10}-{6 * (n % 10):02d}.{37 * n % 100:02d}Z_front",
        lambda n: f"{1714557600 + n}.{n * 7919 % 1000000:06d}",
        lambda n: f"cam0/20240501_1000{n:02d}_{n * 331 % 1000:03d}",
    ],
    ids=["fraction", "ros", "milliseconds"],
)
def test_times_count_the_frames_by_several_numbers_together(name: Callable[[int], str]) -> None:
    frames = [replace(one, id=name(n)) for n, one in enumerate(film("{}", 1, 20))]
    random = np.random.default_rng(0).permutation(20)
    table = read_table([frames[n] for n in random], 3)
    splits = np.array([0, 0, 1, 0] * 5, np.int8)
    leaks = find_leaks(table, splits[random])
    assert len(leaks) == 10
    assert all(leak.is_certain and leak.gap == 1 for leak in leaks)
    assert {abs(int(random[leak.left]) - int(random[leak.right])) for leak in leaks} == {1}


def test_photographs_with_the_time_in_their_names_are_no_film() -> None:
    random = np.random.default_rng(0)
    names = [f"IMG_202405{n:02d}_{n * 4217 % 235959:06d}" for n in range(1, 31)]
    hashes = [f"{value:016x}" for value in random.integers(1, 1 << 63, 30)]
    samples = [sample(n, perceptual_hash=h) for n, h in zip(names, hashes, strict=True)]
    assert not find_leaks(read_table(samples, 3), np.array([0, 1, 2] * 10, np.int8))
    # The few of a short sequence are compared one by one.
    assert not find_leaks(read_table(samples[:4], 3), np.array([0, 1, 2, 0], np.int8))


def test_drives_named_by_time_and_split_by_drive_leak_nothing() -> None:
    samples = [
        replace(one, id=f"{drive:02d}_{n:02d}.{(37 * n + drive) % 100:02d}")
        for drive in range(3)
        for n, one in enumerate(film("{}", drive, 20))
    ]
    table = read_table(samples, 3)
    assert not find_leaks(table, np.repeat([0, 1, 2], 20).astype(np.int8))
    assert len(find_leaks(table, np.array([0, 0, 1, 0] * 15, np.int8))) == 30


def test_subsets_whose_numbers_start_again_are_different_films() -> None:
    # As CVAT names the frames of every video task.
    samples = film("frame_{:06d}", 1, 40, "Train") + film("frame_{:06d}", 2, 20, "Test")
    splits = np.array([0, 0, 1, 0] * 10 + [2] * 20, np.int8)
    leaks = find_leaks(read_table(samples, 3), splits)
    assert len(leaks) == 20
    assert all(samples[leak.left].subset == samples[leak.right].subset == "Train" for leak in leaks)


def test_one_frame_in_two_subsets_does_not_hide_the_film_they_share() -> None:
    frames = film("a_{:03d}", 1, 20)
    samples = [
        replace(one, id=f"{s}/{one.id}", subset=s)
        for number, one in enumerate(frames)
        for s in (("Train", "Test") if number == 5 else (("Train", "Test")[number % 2],))
    ]
    splits = np.array([one.subset == "Test" for one in samples], np.int8) * np.int8(2)
    # Of twenty pairs only those of frames 4 and 5 in Train are not torn.
    assert len(find_leaks(read_table(samples, 3), splits)) == 19


def test_no_samples_have_no_leaks() -> None:
    assert find_leaks(read_table([], 3), np.zeros(0, np.int8)) == []


@pytest.mark.parametrize(
    ("apart", "verdict"), [(6, True), (18, True), (22, False), (28, None)], ids=str
)
def test_the_few_images_of_a_short_sequence_are_compared(apart: int, verdict: bool | None) -> None:
    hashes = [0x5A5A_F0F0_1234_8765, 0x5A5A_F0F0_1234_8765 ^ ((1 << apart) - 1)]
    samples = [sample(f"a_{n}", perceptual_hash=f"{h:016x}") for n, h in enumerate(hashes)]
    leaks = find_leaks(read_table(samples, 3), np.array([0, 2], np.int8))
    assert [leak.is_certain for leak in leaks] == ([] if verdict is None else [verdict])


def test_what_cannot_be_compared_is_no_certain_leak() -> None:
    samples = [sample(f"a_{n}") for n in range(3)]
    table = read_table(samples, 3)
    leaks = find_leaks(table, np.array([0, 2, 0], np.int8))
    assert [leak.is_certain for leak in leaks] == [False, False]
    assert "unsure, as the pictures do not tell" in describe(
        leaks[0], table, np.array([0, 2, 0], np.int8)
    )


def test_the_hash_moves_little_when_a_photograph_is_saved_again_or_scaled(
    shared_data: Path,
) -> None:
    paths = sorted((shared_data / "camvid_mini" / "val").iterdir())[::4]
    hashes = []
    for path in paths:
        image = decode_image(path.read_bytes())
        again = decode_image(encode_jpeg(image, 60))
        small = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        own = perceptual_hash(image)
        assert bits_apart(own, perceptual_hash(again)) <= 2
        assert bits_apart(own, perceptual_hash(small)) <= 2
        hashes.append(own)
    others = [bits_apart(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(others) > 3


def test_the_hash_is_phash_as_the_imagehash_library_has_it(shared_data: Path) -> None:
    # Not bit for bit: the library shrinks by Lanczos, we by area.
    for path in sorted((shared_data / "camvid_mini" / "val").iterdir())[::7]:
        theirs = str(imagehash.phash(Image.open(path)))
        assert bits_apart(perceptual_hash(decode_image(path.read_bytes())), theirs) <= 6


def test_pairs_within_three_bits_are_found_wherever_the_bits_are() -> None:
    random = np.random.default_rng(0)
    hashes = [int(value) for value in random.integers(1, 1 << 62, 200)]
    expected = []
    for number in range(60):
        flipped = hashes[number]
        for bit in random.choice(64, number % 4, replace=False):
            flipped ^= 1 << int(bit)
        expected.append((number, len(hashes)))
        hashes.append(flipped)
    assert hash_pairs(np.array(hashes, np.uint64)) == expected


def test_a_thousand_equal_hashes_are_linked_by_a_thousand_pairs() -> None:
    hashes = np.array([77, *[5] * 1000, 76], np.uint64)
    pairs = hash_pairs(hashes)
    chain = [(n, n + 1) for n in range(1, 1000)]
    assert pairs == sorted([*chain, (0, 1001), (0, 1), (1, 1001)])


def test_images_without_a_hash_are_in_no_pair() -> None:
    assert hash_pairs(np.zeros(5, np.uint64)) == []


def test_two_hundred_thousand_hashes_are_compared_in_seconds() -> None:
    hashes = np.random.default_rng(0).integers(1, 1 << 63, 200_000, dtype=np.uint64)
    start = time.process_time()
    assert hash_pairs(hashes) == []
    assert time.process_time() - start < 5


@pytest.mark.parametrize(("change", "alike"), [(1.0, True), (40.0, False)])
def test_pictures_are_alike_when_few_grey_levels_differ(change: float, alike: bool) -> None:
    random = np.random.default_rng(0)
    left = random.uniform(0, 200, (64, 64)).astype(np.float32)
    noise = random.uniform(-change, change, (64, 64)).astype(np.float32)
    assert look_alike(left, left + 20 + noise) is alike
