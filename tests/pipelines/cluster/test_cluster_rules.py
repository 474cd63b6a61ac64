"""The compiled pipelines by the cluster's rules."""

import copy

import pytest
import yaml
from google.protobuf import json_format

from pipelines.compilation import LABELLING_YAML, SEGMENTATION_YAML, SWEEP_YAML
from tests.emulators.cluster_rules import problems
from tests.emulators.pod_emulator import read_executor_output, rendered

FILES = [SEGMENTATION_YAML, SWEEP_YAML, LABELLING_YAML]


def documents(path):
    specification, platform = yaml.safe_load_all(path.read_text())
    return specification, platform


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cluster_takes_the_compiled_pipeline(path):
    assert problems(*documents(path)) == []


def test_the_rules_find_the_path_of_a_list():
    """The launcher replaces no placeholder by several paths."""
    specification, platform = copy.deepcopy(documents(SWEEP_YAML))
    container = specification["deploymentSpec"]["executors"]["exec-choose"]["container"]
    container["args"].append("{{$.inputs.artifacts['checkpoints'].path}}")
    assert any("names a list" in problem for problem in problems(specification, platform))


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("{{$.inputs.artifacts['train'].metadata['digest']}}", "which no cluster resolves"),
        ("{{$.outputs.output_file}}", "which no cluster resolves"),
        ("{{$.pipeline_root}}", "which no cluster resolves"),
        ('{"Concat": ["a", "b"]}', "which no cluster resolves"),
        ('{"IfPresent": {"InputName": "x", "Then": "y"}}', "which no cluster resolves"),
        ("{{$.inputs.parameters['epochs']}}", "names no declared parameter"),
    ],
)
def test_the_rules_find_a_placeholder_that_only_a_laptop_resolves(argument, told):
    specification, platform = copy.deepcopy(documents(SEGMENTATION_YAML))
    container = specification["deploymentSpec"]["executors"]["exec-train"]["container"]
    container["args"].append(argument)
    assert [problem for problem in problems(specification, platform) if told in problem]


def test_the_rules_find_a_parameter_that_does_not_reach_its_task():
    specification, platform = copy.deepcopy(documents(SWEEP_YAML))
    group = specification["components"]["comp-for-loop-1"]
    for name in ("train_cpu", "object_store_secret"):
        del group["inputDefinitions"]["parameters"][f"pipelinechannel--{name}"]
    del group["dag"]["tasks"]["train"]["inputs"]["parameters"]["train_overrides"]
    found = "\n".join(problems(specification, platform))
    assert "train: parameter train_overrides is not passed" in found
    assert "comes from pipelinechannel--train_cpu, which its group does not have" in found
    assert "platform setting pipelinechannel--object_store_secret does not reach" in found


def test_the_rules_find_a_resource_that_is_no_string_and_a_placeholder_as_executable():
    specification, platform = copy.deepcopy(documents(SEGMENTATION_YAML))
    parameters = specification["root"]["inputDefinitions"]["parameters"]
    parameters["trainer_image"]["parameterType"] = "NUMBER_INTEGER"
    outputs = specification["components"]["comp-check-deployment"]["outputDefinitions"]
    outputs["parameters"]["train_step_accelerators"]["parameterType"] = "NUMBER_INTEGER"
    container = specification["deploymentSpec"]["executors"]["exec-split"]["container"]
    container["command"][0] = "{{$.inputs.parameters['ratios']}}"
    found = "\n".join(problems(specification, platform))
    assert "pipelinechannel--trainer_image decides its pod and is no string" in found
    accelerators = "pipelinechannel--check-deployment-train_step_accelerators"
    assert f"{accelerators} decides its pod and is no string" in found
    assert "a placeholder in command[0]" in found


def test_parameters_are_written_as_the_driver_writes_them():
    values = (True, 1e-5, 3, 0.5, "a b", {"a": 1})
    assert [rendered(value) for value in values] == [
        "true", "0.00001", "3", "0.5", "a b", '{"a": 1}',
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["NaN", "null", "[1]", '{"y": 1}'])
def test_metadata_that_the_launcher_refuses_is_refused(value):
    outputs = {"metrics": {"uri": "minio://b/m", "type": {"schemaTitle": "system.Metrics"}}}
    artifact = f'{{"uri": "minio://b/m", "metadata": {{"x": {value}}}}}'
    text = f'{{"artifacts": {{"metrics": {{"artifacts": [{artifact}]}}}}}}'
    with pytest.raises(ValueError, match="is not JSON|metadata x is"):
        read_executor_output(text, outputs)


def test_an_output_or_field_that_nobody_declared_is_refused():
    with pytest.raises(ValueError, match="unknown output metrics"):
        read_executor_output('{"artifacts": {"metrics": {"artifacts": [{}]}}}', {})
    with pytest.raises(json_format.ParseError, match="no field named"):
        read_executor_output('{"artefacts": {}}', {})
