"""Data sets of drawn scenes, and one finished run that several tests look at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import ROAD, STREET, scenes, write_dataset

from components.train.__main__ import main

Train = Callable[..., "Outputs"]


@dataclass(frozen=True)
class Outputs:
    """Where a run wrote, and its exit code."""

    folder: Path
    code: int

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"


@pytest.fixture(scope="session")
def road_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("road")
    write_dataset(folder / "train", scenes(10, ROAD), ROAD)
    write_dataset(folder / "val", scenes(5, ROAD, first_seed=500), ROAD)
    return folder


@pytest.fixture(scope="session")
def street_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    write_dataset(folder / "train", scenes(10, STREET), STREET)
    write_dataset(folder / "val", scenes(5, STREET, first_seed=500), STREET)
    return folder


def train(data: Path, folder: Path, *overrides: str, resume: Path | None = None) -> Outputs:
    """Run the step in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    code = main(flags(data, folder, resume) + list(overrides))
    return Outputs(folder, code)


def flags(data: Path, folder: Path, resume: Path | None = None) -> list[str]:
    """The step's command line without overrides."""
    given = ["--train", data / "train", "--val", data / "val"]
    given += ["--checkpoint", folder / "checkpoint", "--metrics", folder / "metrics.json"]
    given += ["--logs", folder / "logs", "--training-report", folder / "report.html"]
    given += ["--resume", resume] if resume else []
    return [str(item) for item in given]


@pytest.fixture(name="flags")
def flags_fixture() -> Callable[..., list[str]]:
    return flags


@pytest.fixture(name="train")
def train_fixture() -> Train:
    return train


@pytest.fixture(scope="session")
def finished(road_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Four epochs on the road, in float32."""
    folder = tmp_path_factory.mktemp("finished")
    return train(road_data, folder, "training.epochs=4", "training.precision=fp32")
