"""A data set artifact as text and as plain files, which are a valid input again."""

import json
from pathlib import Path

import numpy as np
import pytest
from builders import STREET, scenes, write_dataset
from typer.testing import CliRunner

from components.convert_labels.__main__ import main as convert_labels
from pipelines.cli import app
from pipelines.datasets.files import describe, unpack
from segmentor.dataset import MANIFEST, Dataset
from segmentor.errors import ConfigError
from segmentor.image_io import encode_index, encode_png


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


def test_info_gives_each_leak_a_line_and_leaves_out_what_is_empty(tmp_path: Path) -> None:
    provenance = {"leaks": ["two films", "three days"], "not_compared": "", "split": "train"}
    dataset = write_dataset(tmp_path / "dataset", scenes(2, STREET), STREET)
    (dataset.folder / MANIFEST).write_text(
        json.dumps({**dataset.manifest, "provenance": provenance}), encoding="utf-8"
    )

    lines = list(describe(dataset.folder))

    assert lines[3:6] == [
        "leaks         two films",
        "leaks         three days",
        "split         train",
    ]


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


def test_what_unpack_wrote_is_told_from_a_data_set_and_how_to_convert_it(
    dataset: Dataset, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    unpack(dataset.folder, files)
    result = CliRunner().invoke(app, ["dataset", "info", str(files)])
    assert result.exit_code == 3
    assert f"{files}: images and masks as files, as dataset unpack writes them" in result.output
    assert result.output.endswith(f"; convert it first: segmentor run --export {files}\n")


def test_the_layout_of_the_original_comes_back_as_it_was(tmp_path: Path) -> None:
    files = {"classes.txt": b"background\nroad\n"}
    for subset in ("train", "val", "test"):
        for index, (_, image, mask, _) in enumerate(scenes(3, first_seed=len(files))):
            files[f"{subset}/p{index}.png"] = encode_png(image)
            files[f"{subset}annot/p{index}.png"] = encode_index(mask)
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
