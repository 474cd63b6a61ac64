"""Runs convert_labels as the command line does, and looks at what it left."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from components.convert_labels.__main__ import main
from segmentor.dataset import Dataset


def run_convert(source: Path | str, folder: Path, *flags: str) -> int:
    """Run the step as the command line does, with its outputs in `folder`."""
    outputs = ("dataset", "label-report", "label-metrics")
    argv = [part for name in outputs for part in (f"--{name}", str(folder / name))]
    return main(["--source", str(source), *argv, *flags])


def convert(source: Path | str, folder: Path, *flags: str) -> Dataset:
    assert run_convert(source, folder, *flags) == 0
    return Dataset(folder / "dataset")


def masks_of(dataset: Dataset) -> dict[str, NDArray[np.uint8]]:
    return {sample.id: dataset.mask(sample) for sample in dataset.samples}


def failure(
    capfd: pytest.CaptureFixture[str], source: Path | str, folder: Path, *flags: str
) -> str:
    """Run the step, which must fail with one known error and leave no data set."""
    assert run_convert(source, folder, *flags) == 3
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert not (folder / "dataset").exists()
    assert not list(folder.glob(".*"))
    return lines[0]


def assert_equal_files(one: Path, other: Path) -> None:
    """Holds two artifacts together, file by file; the shards' names are their digests."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
