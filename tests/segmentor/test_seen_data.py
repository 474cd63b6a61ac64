"""Figures of data that the model has seen are not taken for quality, wherever they are shown."""

import numpy as np
import pytest
from builders import ROAD, draw_scene, scenes, write_dataset

from components.export.model_card import data_section
from components.split.__main__ import main as split
from segmentor.contract import InputSpec, ModelContract
from segmentor.dataset import Dataset
from segmentor.dataset_writer import DatasetWriter
from segmentor.image_io import encode_png
from segmentor.seen_data import seen_data_notice, split_findings


def contract(**provenance: str) -> ModelContract:
    return ModelContract(ROAD, InputSpec((64, 96)), provenance=provenance)


@pytest.mark.parametrize(
    ("key", "use"), [("train_dataset_digest", "trained on"), ("val_dataset_digest", "chosen on")]
)
def test_the_set_that_a_model_was_made_with_is_recognised(key, use):
    assert use in seen_data_notice(contract(**{key: "sha256:1"}), "sha256:1")
    assert not seen_data_notice(contract(**{key: "sha256:1"}), "sha256:2")
    assert not seen_data_notice(contract(), "sha256:1")


def test_the_model_card_says_so(tmp_path):
    one = write_dataset(tmp_path / "one", scenes(1))
    other = write_dataset(tmp_path / "other", scenes(1, first_seed=9))
    made = contract(train_dataset_digest=one.digest, val_dataset_digest=other.digest)
    card = "\n".join(data_section(made, other, one))
    assert "**The test set is the data set that this model was trained on" in card
    assert "No group" not in card
    card = "\n".join(data_section(contract(val_dataset_digest="sha256:0"), one, other))
    assert "not from one run of the split step" in card
    assert "No group" not in card
    assert "The val set above is not the one that the checkpoint was chosen on" in card


def split_set(folder, first_seed, **facts):
    folder.mkdir()
    provenance = {"source_digest": "sha256:1", **facts}
    with DatasetWriter(folder, ROAD, provenance) as writer:
        for name, image, mask, group in scenes(6, first_seed=first_seed):
            writer.add(name, encode_png(image), mask, group)
    return Dataset(folder)


@pytest.mark.parametrize(
    ("facts", "said", "unsaid"),
    [
        ({"leaks": [], "not_compared": ""}, "No group (drive, site, patient)", "too narrow"),
        ({"leaks": ["4 pairs of frames."], "not_compared": ""}, "**4 pairs of frames.**", "No gro"),
        ({"leaks": [], "not_compared": "Frames are not known."}, "Frames are not known.", "narrow"),
        ({}, "is not known", "No group"),
    ],
)
def test_the_card_says_what_split_found_and_no_more(tmp_path, facts, said, unsaid):
    val = split_set(tmp_path / "val", 0, **facts)
    test = split_set(tmp_path / "test", 50, **facts)
    card = "\n".join(data_section(contract(), val, test))
    assert said in card
    assert unsaid not in card


def test_what_split_found_reaches_the_manifests_of_its_data_sets(tmp_path):
    """Copies of one picture in different splits, kept by the export's own subsets."""
    image, mask = draw_scene(1)
    (tmp_path / "whole").mkdir()
    with DatasetWriter(tmp_path / "whole", ROAD, {"source": "drawn"}) as writer:
        for index, subset in enumerate(("train", "val", "test")):
            content = encode_png(np.roll(image, index, 1))
            name = f"a_jpg.rf.{index:032x}"
            writer.add(name, content, (mask == 1).astype(np.uint8), name, subset)
    names = ("train", "val", "test")
    flags = [f"--{name}={tmp_path / name}" for name in names] + ["--honour-subsets"]
    flags += [f"--dataset={tmp_path / 'whole'}", f"--split-report={tmp_path / 'page.html'}"]
    assert split(flags) == 0
    for name in names:
        found = split_findings(Dataset(tmp_path / name))
        assert found.is_known
        assert "figures on them will be better than on new data" in " ".join(found.leaks)
