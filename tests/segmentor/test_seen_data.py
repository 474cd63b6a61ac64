"""Figures of data that the model has seen are not taken for quality, wherever they are shown."""

import pytest
from builders import ROAD, scenes, write_dataset

from components.export.model_card import data_section
from segmentor.contract import InputSpec, ModelContract
from segmentor.seen_data import seen_data_notice


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
    assert "No group" in card
    assert "The val set above is not the one that the checkpoint was chosen on" in card
