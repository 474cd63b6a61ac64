"""A data set artifact as text and as plain files, which are a valid input again."""

from pathlib import Path

import numpy as np
import pytest
from builders import STREET, scenes, write_dataset
from typer.testing import CliRunner

from components.convert_labels.__main__ import main as convert_labels
from pipelines.cli import app
from pipelines.dataset_files import describe, unpack
from segmentor.dataset import Dataset
from segmentor.errors import ConfigError
from segmentor.image_io import encode_png
from segmentor.masks import encode_mask


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "dataset", scenes(6, STREET), STREET)


def test_info_counts_what_the_masks_hold(dataset: Dataset) -> None:
    text = "\n".join(describe(dataset.folder))

    masks = np.stack([dataset.mask(sample) for sample in dataset.samples])
    assert dataset.digest in text
    assert "6 in 2 groups" in text
    assert "64 x 96 (height x width)" in text
    assert f"{(masks == 1).sum():,}" in text


def test_unpacked_files_convert_to_the_same_images_and_masks(
    dataset: Dataset, tmp_path: Path
) -> None:
    assert unpack(dataset.folder, tmp_path / "files") == 6

    code = convert_labels(
        [
            f"--source={tmp_path / 'files'}",
            f"--dataset={tmp_path / 'again'}",
            f"--label-report={tmp_path / 'report.html'}",
            f"--label-metrics={tmp_path / 'metrics.json'}",
        ]
    )

    assert code == 0
    again = Dataset(tmp_path / "again")
    assert again.label_map.names == dataset.label_map.names
    assert [(s.id, s.image_digest, s.mask_digest) for s in again.samples] == [
        (s.id, s.image_digest, s.mask_digest) for s in dataset.samples
    ]


def test_the_layout_of_the_original_comes_back_as_it_was(tmp_path: Path) -> None:
    files = {"classes.txt": b"background\nroad\n"}
    for subset in ("train", "val", "test"):
        for index, (_, image, mask, _) in enumerate(scenes(3, first_seed=len(files))):
            files[f"{subset}/p{index}.png"] = encode_png(image)
            files[f"{subset}annot/p{index}.png"] = encode_mask(mask)
    for name, content in files.items():
        (tmp_path / "original" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "original" / name).write_bytes(content)
    outputs = [f"--label-report={tmp_path / 'r'}", f"--label-metrics={tmp_path / 'm'}"]
    folder = tmp_path / "converted"
    assert (
        convert_labels([f"--source={tmp_path / 'original'}", f"--dataset={folder}", *outputs]) == 0
    )

    unpack(folder, tmp_path / "files")

    unpacked = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert {
        path.relative_to(tmp_path / "files").as_posix(): path.read_bytes() for path in unpacked
    } == files


def test_unpack_does_not_touch_a_folder_that_is_there(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()

    with pytest.raises(ConfigError, match="there already"):
        unpack(dataset.folder, tmp_path / "files")

    assert list((tmp_path / "files").iterdir()) == []


def test_the_command_says_how_many_samples_it_wrote(dataset: Dataset, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["dataset", "unpack", str(dataset.folder), "--output", str(tmp_path / "files")]
    )

    assert result.exit_code == 0
    assert result.output.startswith("6 samples in ")
