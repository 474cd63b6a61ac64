import json

import pytest

from segmentor.contract import InputSpec, ModelContract
from segmentor.errors import ContractError
from segmentor.label_map import LabelMap
from segmentor.training_reference import TrainingReference

CONTRACT = ModelContract(
    LabelMap.of(["background", "road"]),
    InputSpec((128, 416), mean=(0.5, 0.5, 0.5)),
    threshold=0.4,
    provenance={"dataset_digest": "sha256:0"},
    training_reference=TrainingReference(
        2, (0, 0, 0, 1, 1, 0, 0, 0, 0, 0), {"background": (0,) * 9 + (2,), "road": (2,) + (0,) * 9}
    ),
)


def test_contract_survives_its_own_text():
    assert ModelContract.from_text(json.dumps(CONTRACT.to_json())) == CONTRACT


def test_the_training_reference_is_optional():
    value = CONTRACT.to_json()
    del value["training_reference"]
    contract = ModelContract.from_json(value)
    assert contract.training_reference is None
    assert contract.to_json() == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training_reference": {"images": 2}}, "malformed"),
        (
            {"training_reference": {"images": 2, "brightness": [1] * 10, "coverage": {}}},
            "brightness: 10 counts that add up to 2",
        ),
        ({"schema_version": 9}, "schema version 9"),
        ({"label_map": {}}, "malformed"),
        ({"input": {}}, "malformed"),
        ({"output": {"threshold": 0.5, "kind": "multiclass"}}, "kind its label map implies"),
        ({"output": {"threshold": 1.5, "kind": "binary"}}, "threshold 1.5"),
        ({"input": {**CONTRACT.to_json()["input"], "colour_order": "BGR"}}, "colour order"),
        ({"input": {**CONTRACT.to_json()["input"], "size_policy": "crop"}}, "size policy 'crop'"),
        ({"input": {**CONTRACT.to_json()["input"], "size": [100, 416]}}, "multiples of"),
    ],
)
def test_wrong_contract_is_refused_with_its_reason(change, message):
    with pytest.raises(ContractError, match=message):
        ModelContract.from_json({**CONTRACT.to_json(), **change})


@pytest.mark.parametrize("text", ["", "[]", "null", "{"])
def test_text_that_is_no_contract_is_refused(text):
    with pytest.raises(ContractError):
        ModelContract.from_text(text)
