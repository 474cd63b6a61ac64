import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_pipeline import compile_tiny

from pipelines.compilation import SEGMENTATION_YAML
from pipelines.parameters import checked_parameters, parse_assignments, pipeline_parameters
from segmentor.errors import ConfigError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return compile_tiny(tmp_path_factory.mktemp("tiny"))


def test_every_parameter_of_the_pipeline_has_a_description_and_all_but_the_source_a_default():
    parameters = pipeline_parameters(SEGMENTATION_YAML).values()
    assert [item.name for item in parameters if not item.description] == []
    assert [item.name for item in parameters if item.is_required] == ["source"]


def test_texts_become_values_of_the_parameter_s_type_and_the_rest_keep_their_defaults(tiny):
    values = checked_parameters(tiny, {"seed": "7", "flag": "False", "text": "7"})
    assert values == {"source": "", "text": "7", "ending": "", "seed": 7, "flag": False}
    assert isinstance(values["seed"], int)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sead": 1}, "parameter sead: unknown, expected one of the pipeline's; did you mean seed"),
        ({"seed": "x"}, "parameter seed: 'x', expected a whole number"),
        ({"seed": True}, "parameter seed: True, expected a whole number"),
        ({"flag": "perhaps"}, "parameter flag: 'perhaps', expected true or false"),
        ({"text": 3}, "parameter text: 3, expected a text"),
    ],
)
def test_a_wrong_name_or_value_is_told_before_anything_runs(tiny, given, message):
    with pytest.raises(ConfigError, match="^" + message):
        checked_parameters(tiny, given)


@pytest.mark.parametrize(
    ("pipeline", "given", "said"),
    [
        ("segmentation", {}, "parameter source: required, but not given; add --export ...$"),
        (
            "labelling",
            {"source": "cvat://host/projects/7"},
            "parameters model, to: required, but not given; add --param model=... --param to=...$",
        ),
        (
            "predict_batch",
            {},
            "parameters batch_images, predictions, published_model: required, but",
        ),
    ],
)
def test_all_required_parameters_left_out_are_named_at_once(pipeline, given, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        checked_parameters(SEGMENTATION_YAML.with_stem(pipeline), given)


def test_a_file_that_is_no_pipeline_is_told_apart(tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text("a: [1, 2]\n")
    with pytest.raises(ConfigError, match=r"other\.yaml: another kind of file"):
        pipeline_parameters(other)
    with pytest.raises(ConfigError, match="no such file"):
        pipeline_parameters(tmp_path / "none.yaml")


def test_an_assignment_is_divided_at_its_first_equals_sign():
    assert parse_assignments(["classes=road=a+b", "version="]) == {
        "classes": "road=a+b",
        "version": "",
    }
    with pytest.raises(ConfigError, match="expected name=value"):
        parse_assignments(["classes"])


def test_a_name_given_twice_is_refused():
    with pytest.raises(ConfigError, match="parameter seed: given twice, expected one value"):
        parse_assignments(["seed=1", "seed =2"])


@given(seed=st.integers(-(2**53), 2**53), flag=st.booleans(), text=st.text())
def test_a_value_and_its_text_are_the_same_parameter(tiny, seed, flag, text):
    typed = {"seed": seed, "flag": flag, "text": text}
    texts = {"seed": str(seed), "flag": json.dumps(flag), "text": text}
    assert checked_parameters(tiny, typed) == checked_parameters(tiny, texts)


@given(value=st.text())
def test_an_assignment_keeps_every_character_of_its_value(value):
    assert parse_assignments([f"name={value}"]) == {"name": value}
