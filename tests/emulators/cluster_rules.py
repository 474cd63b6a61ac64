"""What the cluster's compiler and driver demand of a compiled pipeline, where kfp.local forgives.

Stands for KFP's compiler, driver and launcher; read at kubeflow/pipelines 2.17.0 (7b70c7b),
backend/src/v2/driver/{driver,resolve,k8s}.go and backend/src/v2/component/launcher_v2.go.
"""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.emulators.compiler_rules import compiler_problems
from tests.emulators.driver_rules import INPUT_PARAMETER, driver_problems

PLACEHOLDER = re.compile(r"\{\{\$.*?\}\}")
ALLOWED = (
    (re.compile(r"\{\{\$\}\}"), None, None),
    (INPUT_PARAMETER, "inputDefinitions", "parameters"),
    (re.compile(r"\{\{\$\.inputs\.artifacts\['([^']+)'\]\.(?:path|uri)\}\}"),
     "inputDefinitions", "artifacts"),
    (re.compile(r"\{\{\$\.outputs\.artifacts\['([^']+)'\]\.(?:path|uri)\}\}"),
     "outputDefinitions", "artifacts"),
    (re.compile(r"\{\{\$\.outputs\.parameters\['([^']+)'\]\.output_file\}\}"),
     "outputDefinitions", "parameters"),
)  # fmt: skip
STRUCTURES = ('{"Concat"', '{"IfPresent"')
RESOURCES = ("resourceCpuLimit", "resourceCpuRequest", "resourceMemoryLimit",
             "resourceMemoryRequest")  # fmt: skip


def problems(specification: dict, platform: dict) -> list[str]:
    """Return every reason for which a cluster would refuse or mis-run a pipeline."""
    json_format.ParseDict(specification, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    executors = specification["deploymentSpec"]["executors"]
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for configuration in settings.values():
        message = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        json_format.ParseDict(configuration, message)
    return [
        *compiler_problems(specification),
        *driver_problems(specification, platform),
        *_graph_problems(specification, settings),
        *(
            f"{name}: {problem}"
            for name, component in specification["components"].items()
            if "executorLabel" in component
            for problem in _command_problems(component, executors[component["executorLabel"]])
        ),
    ]


def _graph_problems(specification: dict, settings: dict) -> Iterator[str]:
    components = specification["components"]
    for graph_name, graph in [("root", specification["root"]), *components.items()]:
        given = graph.get("inputDefinitions", {}).get("parameters", {})
        tasks = graph.get("dag", {}).get("tasks", {})
        for name, task in tasks.items():
            component = components[task["componentRef"]["name"]]
            where = f"{graph_name}/{name}"
            yield from _input_problems(where, task, component, given, tasks)
            if "executorLabel" in component:
                label = component["executorLabel"]
                container = specification["deploymentSpec"]["executors"][label]["container"]
                passed = task.get("inputs", {}).get("parameters", {})
                types = {key: item["parameterType"] for key, item in given.items()}
                yield from _pod_problems(
                    where, container, _types(passed, types, tasks, components), passed
                )
                for reference in _references(settings.get(label, {})):
                    if reference not in given:
                        yield f"{where}: platform setting {reference} does not reach its group"


def _input_problems(
    where: str, task: dict, component: dict, given: dict, tasks: dict
) -> Iterator[str]:
    inputs = task.get("inputs", {})
    declared = component.get("inputDefinitions", {})
    looped = task.get("parameterIterator", {}).get("itemInput")
    for kind in ("parameters", "artifacts"):
        for name, definition in declared.get(kind, {}).items():
            if name in inputs.get(kind, {}) or name == looped:
                continue
            if not definition.get("isOptional"):
                yield f"{where}: {kind[:-1]} {name} is not passed"
    for name, source in inputs.get("parameters", {}).items():
        reference = source.get("componentInputParameter")
        if reference and reference not in given:
            yield f"{where}: input {name} comes from {reference}, which its group does not have"
        constant = source.get("runtimeValue", {}).get("constant")
        for reference in INPUT_PARAMETER.findall(constant if isinstance(constant, str) else ""):
            if reference not in inputs["parameters"]:
                yield f"{where}: input {name} uses {reference}, which is not passed"
        producer = source.get("taskOutputParameter", {}).get("producerTask")
        if producer and producer not in tasks:
            yield f"{where}: input {name} comes from {producer}, which is not in its group"


def _types(passed: dict, given: dict, tasks: dict, components: dict) -> dict[str, str]:
    """Returns the types of a task's inputs, which come from its group or from another task."""
    found = {}
    for name, source in passed.items():
        if produced := source.get("taskOutputParameter"):
            producer = tasks.get(produced["producerTask"])
            outputs = {}
            if producer is not None:
                component = components[producer["componentRef"]["name"]]
                outputs = component.get("outputDefinitions", {}).get("parameters", {})
            output = outputs.get(produced["outputParameterKey"], {})
            found[name] = output.get("parameterType", "")
        else:
            found[name] = given.get(source.get("componentInputParameter", ""), "")
    return found


def _pod_problems(where: str, container: dict, types: dict, passed: dict) -> Iterator[str]:
    resources = container.get("resources", {})
    accelerator = resources.get("accelerator", {})
    values = [
        container["image"],
        *(resources[key] for key in RESOURCES if key in resources),
        *(accelerator[key] for key in ("resourceType", "resourceCount") if key in accelerator),
    ]
    for value in values:
        for name in INPUT_PARAMETER.findall(value):
            if name not in passed:
                yield f"{where}: {name} decides its pod and is not passed to the task"
            elif types[name] != "STRING":
                yield f"{where}: {name} decides its pod and is no string"


def _command_problems(component: dict, executor: dict) -> Iterator[str]:
    container = executor["container"]
    if "{{$" in container["command"][0]:
        yield "a placeholder in command[0], which the launcher does not replace"
    for argument in [*container["command"], *container.get("args", [])]:
        if argument.startswith(STRUCTURES):
            yield f"{argument[:40]}, which no cluster resolves"
        for placeholder in PLACEHOLDER.findall(argument):
            yield from _placeholder_problems(component, placeholder)


def _placeholder_problems(component: dict, placeholder: str) -> Iterator[str]:
    for pattern, definitions, kind in ALLOWED:
        if match := pattern.fullmatch(placeholder):
            if definitions:
                declared = component.get(definitions, {}).get(kind, {})
                if match[1] not in declared:
                    yield f"{placeholder} names no declared {kind[:-1]}"
                elif declared[match[1]].get("isArtifactList"):
                    yield f"{placeholder} names a list, which the launcher does not replace"
                elif declared[match[1]].get("isOptional") and kind == "artifacts":
                    yield f"{placeholder} stays literal when the artifact is not given"
            return
    yield f"{placeholder}, which no cluster resolves"


def _references(settings: Any) -> Iterator[str]:
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key == "componentInputParameter":
                yield value
            else:
                yield from _references(value)
    elif isinstance(settings, list):
        for item in settings:
            yield from _references(item)
