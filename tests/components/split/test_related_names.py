"""Copies and tiles of one picture stay together; folders that look like patients are named."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.split.related_names import related, torn_sites
from components.split.sample_table import read_table
from pipelines.demo.drives import SETTINGS
from tests.components.split.split_builders import (
    ALL,
    executor_input,
    picture,
    run_split,
    sample,
    split,
    warnings,
    write_dataset,
)

HASH = "0123456789abcdef0123456789abcde{:x}"


def write(folder: Path, names: list[str], subsets: dict[str, str] | None = None) -> Path:
    subset_of = subsets or {}
    entries = [(n, n, subset_of.get(n, ""), picture(seed), ALL) for seed, n in enumerate(names)]
    return write_dataset(folder / "dataset", entries)


def places(folder: Path, dataset: Path, source: str) -> dict[str, set[str]]:
    """The splits in which each picture is; `source` finds its name in an image's."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, part in split(dataset, folder).items():
        for entry in part.samples:
            match = re.match(source, entry.id)
            assert match is not None
            found[match[1]].add(name)
    return found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (lambda p, c: f"pic{p}_jpg.rf.{HASH.format(c)}", r"(pic\d+)_jpg"),
        (lambda p, c: f"pic{p}.rf.{'QwErTyUiOp' * 2}{c}", r"(pic\d+)\.rf"),
        (lambda p, c: f"pic{p}" + ("", "_aug_1", "_aug_2")[c], r"(pic\d+)"),
        (lambda p, c: f"pic{p}" + ("", "_hflip", "_rot90")[c], r"(pic\d+)"),
        (lambda p, c: f"pic{p}" + ("", " (1)", " - copy")[c], r"(pic\d+)"),
        (lambda p, c: f"{('', 'flipped_', 'aug_3_')[c]}pic{p}", r".*(pic\d+)"),
        (lambda p, c: f"{('', 'copy_of_', 'Copy of ')[c]}pic{p}", r".*(pic\d+)"),
        (lambda p, c: f"pic{p}-{HASH.format(c)}", r"(pic\d+)-"),
        (lambda p, c: f"pic{p}_20230104_101112.rf.{HASH.format(c)}", r"(pic\d+)_"),
        (lambda p, c: "abcdefghi"[p] + ("", " (1)", "_aug_2")[c], r"(.)"),
        (lambda p, c: f"{('', 'flipped_', 'mirror_')[c]}{p:06d}", r".*(\d{6})"),
        (lambda p, c: f"pic{p}_tile_{c}", r"(pic\d+)_"),
        (lambda p, c: f"pic{p}_x{c}_y0", r"(pic\d+)_"),
        (lambda p, c: f"a/pic{p}_patch{c}", r"(a/pic\d+)_"),
    ],
)
def test_images_of_one_picture_stay_together(
    name: Callable[[int, int], str], source: str, tmp_path: Path
) -> None:
    names = [name(p, c) for p in range(9) for c in range(3)]
    found = places(tmp_path, write(tmp_path, names), source)
    assert len(found) == 9
    assert all(len(splits) == 1 for splits in found.values())


def test_tiles_named_by_row_and_column_stay_together(tmp_path: Path) -> None:
    names = [f"pic{p}_{row}_{column}" for p in range(8) for row in (0, 512) for column in (0, 512)]
    found = places(tmp_path, write(tmp_path, names), r"(pic\d+)_")
    assert all(len(splits) == 1 for splits in found.values())


@pytest.mark.parametrize(
    "names",
    [
        [f"frame_{number:06d}" for number in range(20)],
        [f"3f2c8a{number:02x}-1d2e-4f3a-9b8c-7d6e5f4a3b2c" for number in range(20)],
        [f"photo_{HASH.format(number % 16)}{number}" for number in range(20)],
        [f"zoom_{number}" for number in range(20)],
        [f"cam_{camera}_{number:04d}" for camera in range(4) for number in range(5)],
        [
            f"{s}_{drive:02d}_{frame:06d}"
            for s in SETTINGS
            for drive in range(6)
            for frame in (0, 1)
        ],
        [f"{place}_{row}_{column}" for place in "abcd" for row in range(3) for column in range(3)],
        [f"pic{p}_{row}_{column}" for p in range(4) for row in ("0", "00") for column in (0, 512)],
        [f"{place}_{seq:06d}_{30 * n:06d}" for place in "abc" for seq in (0, 1) for n in range(4)],
        [f"0001TP_{number:06d}" for number in range(6690, 6990, 30)],
        [f"IMG_2023010{day}_10{minute}112" for day in range(1, 9) for minute in (11, 12, 13)],
        [f"{road}_{number:06d}" for road in ("um", "umm", "uu") for number in range(14)],
        [f"DSC{number:05d}" for number in range(1234, 1264)],
        [f"scan_{scan}_slice_{number:03d}" for scan in range(9, 15) for number in range(40, 50)],
        [f"{crop}_crop_{number:04d}" for crop in ("corn", "rye") for number in range(20)],
        [f"{place}/crop_{plot}_{n:03d}" for place in "ab" for plot in (1, 2) for n in range(9)],
        [f"night_dark_{number:04d}" for number in range(20)],
        [f"photo ({number})" for number in range(1, 31)],
        [f"2023010{day}{number:02d}0000" for day in range(1, 9) for number in range(4)],
    ],
)
def test_names_of_different_pictures_join_nothing(names: list[str]) -> None:
    found = related(read_table(map(sample, names), 3))
    assert (found.pairs, found.too_many) == ((), ())


def test_copies_that_subsets_tear_are_told_of(tmp_path: Path) -> None:
    names = [
        f"{s}/pic{n}_jpg.rf.{HASH.format(i)}"
        for n in range(3)
        for i, s in enumerate(("train", "val", "test"))
    ]
    dataset = write(tmp_path, names, {name: name.split("/")[0] for name in names})
    flags = ["--honour-subsets", "--executor-input", executor_input(tmp_path)]
    assert run_split(dataset, tmp_path, *flags) == 0
    (said,) = [text for text in warnings(tmp_path) if "of one picture" in text]
    assert said.startswith("6 pairs of images that are of one picture by their names are in diff")
    assert "no equal images" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        (lambda p, s: f"P{p}/slice_{s}", "^([^/]+)/"),
        (lambda p, s: f"all/P{p}/slice_{s}", "^(.*)/"),
        (lambda p, s: f"t1_patient{p}_{s}", r"(patient[_ -]?\d+)"),
        (lambda p, s: f"A{p}X_{s}", r"^(.*\d.*?)[_ .-]+[A-Za-z]*\d+$"),
    ],
)
def test_what_looks_like_patients_is_pointed_out_with_the_pattern(
    name: Callable[[int, int], str], pattern: str, tmp_path: Path
) -> None:
    names = [name(p, s) for p in range(5) for s in range(6)]
    dataset = write(tmp_path, names)
    assert run_split(dataset, tmp_path, "--executor-input", executor_input(tmp_path)) == 0
    said = [text for text in warnings(tmp_path) if "--group-pattern" in text and "patient" in text]
    assert len(said) == 1
    assert f"use --group-pattern '{pattern}'" in said[0]
    # The pattern that is given tells them apart.
    assert {re.search(pattern, entry)[1] for entry in names} == {  # type: ignore[index]
        re.search(pattern, name(p, 0))[1]  # type: ignore[index]
        for p in range(5)
    }


def test_what_is_grouped_already_is_not_pointed_out() -> None:
    table = read_table([sample(f"P{p}/{s}", group=f"P{p}") for p in range(4) for s in range(4)], 3)
    assert torn_sites(table, np.array([0, 1, 2, 0] * 4, np.int8)) == ""
