import math

import pytest
from deploy_builders import CHECKPOINT, write_inputs
from hypothesis import given
from hypothesis import strategies as st

from components.deploy.gate.candidate import read_candidate
from components.deploy.gate.checks import _bounded, check_candidate, require_passed
from components.deploy.options import DeployOptions
from segmentor.errors import ConfigError, ContractError, DeployError

LIMITS = DeployOptions()


@pytest.fixture
def candidate_of(tmp_path):
    def build(**changes):
        write_inputs(tmp_path, **changes)
        return read_candidate(tmp_path / "model", tmp_path / "evaluation", tmp_path / "parity.json")

    return build


def test_a_good_candidate_passes_every_check(candidate_of):
    checks = check_candidate(candidate_of(), LIMITS)
    assert len(checks) == 8
    require_passed(checks)


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"parity": {"model_digest": "sha256:" + "0" * 64}}, "parity of this model"),
        ({"checkpoint": "sha256:other"}, "evaluation of its checkpoint"),
        ({"evaluation": {"names": ("background", "rail")}}, "evaluated classes"),
        ({"evaluation": {"threshold": 0.4}}, "evaluated threshold"),
        ({"evaluation": {"samples": 0}}, "test samples"),
        ({"evaluation": {"dataset": {"iou": 0.4999}}}, "iou"),
        ({"evaluation": {"dataset": {"iou": None}}}, "iou"),
        ({"evaluation": {"dataset": {"iou": math.nan}}}, "iou"),
        ({"evaluation": {"dataset": {"iou": "0.9"}}}, "iou"),
        ({"evaluation": {"dataset": None}}, "iou"),
        ({"parity": {"max_probability_difference": 2e-4}}, "max_probability_difference"),
        ({"parity": {"max_probability_difference": math.nan}}, "max_probability_difference"),
        ({"parity": {"flipped_fraction": 2e-5}}, "flipped_fraction"),
        ({"parity": {"flipped_fraction": True}}, "flipped_fraction"),
    ],
)
def test_each_check_fails_alone_and_the_refusal_names_it(candidate_of, changes, failed):
    checks = check_candidate(candidate_of(**changes), LIMITS)
    assert [check.name for check in checks if not check.passed] == [failed]
    with pytest.raises(DeployError, match=rf"gate: 1 of 8 checks failed: {failed} .*required"):
        require_passed(checks)


# As export writes them: those of the INT8 file, and of the float32 model it was made of.
INT8 = {
    "max_probability_difference": 0.09,
    "flipped_fraction": 2e-3,
    "float32_max_probability_difference": 2e-7,
    "float32_flipped_fraction": 0.0,
    "int8_iou": 0.929,
    "int8_iou_loss": 0.001,
}


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, []),
        ({"int8_iou": 0.49}, ["int8_iou"]),
        ({"int8_iou_loss": 0.011}, ["int8_iou_loss"]),
        ({"int8_iou_loss": None}, ["int8_iou_loss"]),
        ({"float32_max_probability_difference": 2e-4}, ["float32_max_probability_difference"]),
        ({"float32_flipped_fraction": None}, ["float32_flipped_fraction"]),
    ],
)
def test_an_int8_model_is_judged_by_its_own_iou_and_the_float32_one_by_equality(
    candidate_of, changes, failed
):
    candidate = candidate_of(precision="int8", parity={**INT8, **changes})
    checks = check_candidate(candidate, LIMITS)
    assert [check.name for check in checks if not check.passed] == failed


def test_figures_of_an_int8_model_do_not_pass_for_those_of_a_float32_one(candidate_of):
    checks = check_candidate(candidate_of(parity=INT8), LIMITS)
    failed = [check.name for check in checks if not check.passed]
    assert failed == ["max_probability_difference", "flipped_fraction"]


def test_a_figure_that_was_never_measured_fails(candidate_of, tmp_path):
    candidate = candidate_of()
    candidate.parity.clear()
    with pytest.raises(DeployError, match="3 of 8 .* parity of this model nothing"):
        require_passed(check_candidate(candidate, LIMITS))


def test_a_model_without_a_recorded_checkpoint_fails(candidate_of):
    candidate = candidate_of()
    candidate.contract.provenance.clear()
    candidate.evaluation.pop("checkpoint_digest")
    failed = [check for check in check_candidate(candidate, LIMITS) if not check.passed]
    assert [check.name for check in failed] == ["evaluation of its checkpoint"]


def test_a_multiclass_model_has_no_threshold(candidate_of):
    names = ("background", "road", "car")
    candidate = candidate_of(names=names, evaluation={"names": names, "threshold": None})
    require_passed(check_candidate(candidate, LIMITS))


@given(st.floats(0, 1), st.floats(allow_nan=True, allow_infinity=True))
def test_a_bound_passes_exactly_the_finite_values_on_its_side(bound, value):
    finite = math.isfinite(value)
    assert _bounded("x", value, at_least=bound).passed == (finite and value >= bound)
    assert _bounded("x", value, at_most=bound).passed == (finite and value <= bound)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_thresholds_outside_of_0_to_1_are_refused(value):
    with pytest.raises(ConfigError, match="--min-iou: .* in 0..1"):
        DeployOptions(min_iou=value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("evaluation/evaluation.json", None, "no such file"),
        ("evaluation/evaluation.json", "{", "no JSON"),
        ("evaluation/evaluation.json", "[]", "list, expected a JSON object"),
        ("evaluation/evaluation.json", '{"schema_version": 2}', "schema version 2"),
        ("evaluation/per_image.csv", None, "no such file"),
        ("parity.json", None, "run the export step"),
        ("model/model.onnx", b"not onnx", "not a loadable ONNX model"),
    ],
)
def test_unreadable_inputs_are_named(candidate_of, tmp_path, file, content, message):
    candidate_of()
    path = tmp_path / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ContractError, match=message) as error:
        read_candidate(tmp_path / "model", tmp_path / "evaluation", tmp_path / "parity.json")
    assert file in str(error.value)


def test_the_default_version_is_the_head_of_the_digest(candidate_of):
    candidate = candidate_of()
    assert candidate.digest.startswith(f"sha256:{candidate.version}")
    assert len(candidate.version) == 12
    assert candidate.contract.provenance["checkpoint_digest"] == CHECKPOINT


def test_classes_that_were_not_measured_are_recorded_and_do_not_refuse(candidate_of, caplog):
    candidate = candidate_of(evaluation={"not_measured": ["road"]})
    check = check_candidate(candidate, LIMITS)[-1]
    assert check.passed
    assert check.found == "all but road: no true pixels in the test set"
    assert "not measured: road" in caplog.text
