import json

import pytest

from segmentor.contract import InputSpec, ModelContract
from segmentor.errors import ContractError
from segmentor.label_map import LabelMap

CONTRACT = ModelContract(
    LabelMap.of(["background", "road"]),
    InputSpec((128, 416), mean=(0.5, 0.5, 0.5)),
    threshold=0.4,
    provenance={"dataset_digest": "sha256:0"},
)


def test_contract_survives_its_own_text():
    assert ModelContract.from_text(json.dumps(CONTRACT.to_json())) == CONTRACT


@pytest.mark.parametrize(
    ("change", "message"),
    [
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
