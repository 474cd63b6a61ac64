"""Each step's own parser takes what the compiled pipeline passes, and has no flag besides."""

import argparse
import importlib
import re

import pytest

from components.options import options_of
from pipelines.compilation import LABELLING_YAML, PREDICT_BATCH_YAML, SWEEP_YAML
from pipelines.option_classes import option_classes
from pipelines.parameters import load_pipeline

# Together they have every step; what the sweep has too is the sweep's.
PIPELINES = [load_pipeline(path) for path in (LABELLING_YAML, PREDICT_BATCH_YAML, SWEEP_YAML)]
CONTAINERS = {
    name.removeprefix("exec-").replace("-", "_"): executor["container"]
    for pipeline in PIPELINES
    for name, executor in pipeline["deploymentSpec"]["executors"].items()
}
STEPS = tuple(sorted(CONTAINERS))
PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+)'\]\}\}")
# As the cluster writes values of each type into arguments.
DUMMIES = {
    "STRING": "text",
    "NUMBER_INTEGER": "3",
    "NUMBER_DOUBLE": "0.00001",
    "STRUCT": '{"disk": "ssd"}',
    "LIST": '[{"operator": "Exists"}]',
}
OPTIONS = {name: item for kind in option_classes() for name, item in options_of(kind).items()}
# Flags that no pipeline passes, and why. Options say it themselves (local_because).
LOCAL = {
    ("train", "resume"): "a training of a pipeline finds its own state",
    ("train", "override"): "what a person types; a pipeline passes train_overrides",
    ("choose", "checkpoints"): "no placeholder names the elements of a list: executor_input does",
}


def component(step):
    name = f"comp-{step.replace('_', '-')}"
    return [item["components"][name] for item in PIPELINES if name in item["components"]][-1]


def arguments(step, boolean="true", text=None):
    parameters = component(step).get("inputDefinitions", {}).get("parameters", {})
    result = []
    for argument in CONTAINERS[step]["args"]:
        if match := PARAMETER.fullmatch(argument):
            name, kind = match[1], parameters[match[1]]["parameterType"]
            value = boolean if kind == "BOOLEAN" else DUMMIES[kind]
            if kind == "STRING" and OPTIONS[name].choices:
                value = OPTIONS[name].choices[-1]
            elif kind == "STRING" and text is not None:
                value = text
            result.append(value)
        else:
            result.append("/artifacts/x" if argument.startswith("{{$.") else argument)
    return result


def parser(step) -> argparse.ArgumentParser:
    module = CONTAINERS[step]["command"][2]
    try:
        return importlib.import_module(f"{module}.__main__").build_parser()
    except ModuleNotFoundError:
        return importlib.import_module(module).build_parser()


@pytest.mark.parametrize("step", STEPS)
def test_the_command_is_the_step_s_own(step):
    container = CONTAINERS[step]
    assert container["command"][:2] == ["python", "-m"]
    assert container["command"][2].startswith("components.")
    assert container["args"][:2] == ["--executor-input", "{{$}}"]


@pytest.mark.parametrize("boolean", ["true", "false"])
@pytest.mark.parametrize("step", STEPS)
def test_the_parser_takes_what_the_pipeline_passes(step, boolean):
    parsed = vars(parser(step).parse_args(arguments(step, boolean)))
    for name, value in parsed.items():
        if name in OPTIONS and OPTIONS[name].type is bool:
            assert value is (boolean == "true")


@pytest.mark.parametrize("step", STEPS)
def test_an_empty_text_is_taken_for_not_given(step):
    parser(step).parse_args(arguments(step, text=""))


@pytest.mark.parametrize("step", STEPS)
def test_the_pipeline_passes_every_flag_that_is_not_local(step):
    passed = {argument[2:].replace("-", "_") for argument in CONTAINERS[step]["args"]}
    flags = {action.dest for action in parser(step)._actions} - {"help", "executor_input"}
    local = {name for name, item in OPTIONS.items() if item.local_because}
    local |= {name for (owner, name) in LOCAL if owner == step}
    assert flags - passed == flags & local


def test_a_flag_is_named_like_its_parameter_and_like_the_pipeline_s():
    root = {name for item in PIPELINES for name in item["root"]["inputDefinitions"]["parameters"]}
    for step in STEPS:
        for name in component(step).get("inputDefinitions", {}).get("parameters", {}):
            passed = (step, name) in (
                ("train", "train_overrides"),
                ("convert_labels", "source_state"),  # check_deployment's output
            )
            assert name in root or passed, (step, name)


@pytest.mark.parametrize("step", STEPS)
def test_help_names_values_by_what_they_are_and_no_default_that_says_nothing(step):
    made = parser(step)
    made.epilog = None  # Train's is text about overrides.
    text = made.format_help()
    assert not re.search(r"default: (None)?\)", text)
    named = set(re.findall(r"^  --[a-z-]+ (\S+)", text, re.MULTILINE))
    plain = {name for name in named if not re.match(r"[\[{]", name)}
    assert plain <= {"TEXT", "N", "X", "PATH", "JSON"}
