"""Subsets of the export, taken as splits."""

from pathlib import Path

import pytest

from segmentor.image_io import decode_image, encode_jpeg
from tests.components.split.split_builders import (
    ALL,
    executor_input,
    picture,
    run_split,
    split,
    warnings,
    write_dataset,
)


def subsets(folder: Path, names: tuple[str, ...]) -> Path:
    return write_dataset(
        folder,
        ((f"{s}/x_{n}", f"{s}{n}", s, picture(9 * i + n), ALL)
         for i, s in enumerate(names) for n in range(3)),
    )  # fmt: skip


@pytest.mark.parametrize("flag", [["--honour-subsets"], ["--honour-subsets", "True"]])
def test_subsets_of_the_export_are_kept_when_asked(flag: list[str], tmp_path: Path) -> None:
    source = subsets(tmp_path / "dataset", ("Train", "Validation", "test"))
    parts = split(source, tmp_path, *flag)
    found = {name: {sample.subset for sample in part.samples} for name, part in parts.items()}
    assert found == {"train": {"Train"}, "val": {"Validation"}, "test": {"test"}}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "val", "extra"), "subset 'extra', expected subsets called train, val"),
        (("val", "test"), "no subset for train"),
    ],
)
def test_subsets_that_are_no_splits_are_refused(
    names: tuple[str, ...], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = subsets(tmp_path / "dataset", names)
    assert run_split(source, tmp_path, "--honour-subsets", "true") == 3
    assert message in capfd.readouterr().err


def test_a_split_that_no_subset_names_is_taken_out_of_train_and_said(tmp_path: Path) -> None:
    entries = [(f"t{n}x", "Train", "Train", picture(n), ALL) for n in range(16)]
    entries += [(f"v{n}x", "Validation", "Validation", picture(90 + n), ALL) for n in range(4)]
    source = write_dataset(tmp_path / "dataset", entries)
    parts = split(
        source, tmp_path, "--honour-subsets", "--executor-input", executor_input(tmp_path)
    )
    assert {name: len(part) for name, part in parts.items()} == {"train": 14, "val": 4, "test": 2}
    assert {sample.subset for sample in parts["val"].samples} == {"Validation"}
    text = "No subset for test (2 samples): taken out of train&#x27;s, image by image"
    assert text in (tmp_path / "report.html").read_text()
    assert warnings(tmp_path)[0] == (
        "No subset for test (2 samples): taken out of train's, image by image."
    )


def test_an_honoured_subset_is_no_group_but_a_task_is(tmp_path: Path) -> None:
    entries = [
        (f"{name}/{n}", name if n % 2 else f"task {name}", name, picture(9 * i + n), ALL)
        for i, name in enumerate(("train", "val", "test"))
        for n in range(4)
    ]
    parts = split(write_dataset(tmp_path / "dataset", entries), tmp_path, "--honour-subsets")
    groups = {sample.id: sample.group for sample in parts["test"].samples}
    assert groups == {
        "test/0": "task test",
        "test/1": "test/1",
        "test/2": "task test",
        "test/3": "test/3",
    }


def test_what_is_taken_out_of_train_tears_no_group_and_no_near_duplicates(tmp_path: Path) -> None:
    entries = []
    for number in range(12):
        image = picture(number)
        again = encode_jpeg(decode_image(image), 90)
        entries.append((f"a{number}", f"g{number % 6}", "train", image, ALL))
        entries.append((f"z{number}", f"g{number % 6 + 6}", "train", again, ALL))
    parts = split(write_dataset(tmp_path / "dataset", entries), tmp_path, "--honour-subsets")
    numbers = [sorted(s.id[1:] for s in part.samples) for part in parts.values()]
    assert all(part[::2] == part[1::2] for part in numbers)
    assert all(numbers)
