"""Each step's own parser takes the arguments that the compiled pipeline passes."""

import importlib
import re

import pytest

from pipelines.compilation import SEGMENTATION_YAML
from pipelines.parameters import load_pipeline

MODULES = {
    "check_deployment": "components.deploy.check",
    **{
        step: f"components.{step}"
        for step in ("convert_labels", "split", "train", "evaluate", "export", "deploy")
    },
}
STEPS = tuple(MODULES)
PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+)'\]\}\}")
# As the cluster writes values of each type into arguments.
DUMMIES = {"STRING": "text", "NUMBER_INTEGER": "3", "NUMBER_DOUBLE": "0.00001"}
# Options that take one of some words.
WORDS = {
    "unlabelled": "ignore",
    "empty_images": "skip",
    "bad_samples": "skip",
    "near_duplicates": "report",
    "size_policy": "native",
    "precision": "both",
}


def specification(step):
    pipeline = load_pipeline(SEGMENTATION_YAML)
    name = step.replace("_", "-")
    container = pipeline["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
    return container, pipeline["components"][f"comp-{name}"]


def arguments(step, boolean="true", text=None):
    container, component = specification(step)
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    result = []
    for argument in container["args"]:
        if match := PARAMETER.fullmatch(argument):
            name, kind = match[1], parameters[match[1]]["parameterType"]
            value = boolean if kind == "BOOLEAN" else DUMMIES[kind]
            if kind == "STRING":
                value = WORDS.get(name, value if text is None else text)
            result.append("0.7,0.2,0.1" if name == "ratios" else value)
        else:
            result.append("/artifacts/x" if argument.startswith("{{$.") else argument)
    return result


def parser(step):
    module = MODULES[step] if step == "check_deployment" else f"{MODULES[step]}.__main__"
    return importlib.import_module(module).build_parser()


@pytest.mark.parametrize("step", STEPS)
def test_the_command_is_the_step_s_own(step):
    container, _ = specification(step)
    assert container["command"] == ["python", "-m", MODULES[step]]
    assert container["args"][:2] == ["--executor-input", "{{$}}"]


@pytest.mark.parametrize("boolean", ["true", "false"])
@pytest.mark.parametrize("step", STEPS)
def test_the_parser_takes_what_the_pipeline_passes(step, boolean):
    parsed = vars(parser(step).parse_args(arguments(step, boolean)))
    for name in ("apply", "honour_subsets"):
        assert parsed.get(name, boolean == "true") is (boolean == "true")


@pytest.mark.parametrize("step", STEPS)
def test_an_empty_text_is_taken_for_not_given(step):
    parser(step).parse_args(arguments(step, text=""))
