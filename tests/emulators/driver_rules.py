"""What KFP's driver refuses when a task is about to start: types, empty names, wrong quantities.

Stands for KFP's driver; read at kubeflow/pipelines 2.17.0 (7b70c7b),
backend/src/v2/driver/{driver,resolve,k8s}.go.
"""

import re
from collections.abc import Iterator
from typing import Any

from tests.emulators.compiler_rules import graphs

INPUT_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
# Resolved when they are the whole constant (resolve.go, resolveInputParameter).
RUNTIME_PLACEHOLDERS = {
    f"{{{{$.{name}}}}}"
    for name in (
        "pipeline_job_name",
        "pipeline_job_resource_name",
        "pipeline_job_uuid",
        "pipeline_task_name",
        "pipeline_task_uuid",
        "pipeline_job_create_time_utc",
        "pipeline_job_schedule_time_utc",
    )
}
KINDS = {
    "STRING": str,
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
# Source: k8s.io/apimachinery/pkg/api/resource, ParseQuantity.
QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?\d+)?")
LABEL = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?")


def driver_problems(specification: dict, platform: dict) -> list[str]:
    """Return every reason for which the driver would fail a task, or start another pod."""
    defaults = specification["root"]["inputDefinitions"]["parameters"]
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    components = specification["components"]
    return [
        *_default_problems(defaults),
        *(
            f"{graph_name}/{name}: {problem}"
            for graph_name, graph in graphs(specification)
            for name, task in graph["dag"]["tasks"].items()
            for problem in _type_problems(graph, task, components[task["componentRef"]["name"]])
        ),
        *(
            f"{name}: {problem}"
            for name, component in components.items()
            if "executorLabel" in component
            for problem in [
                *_resource_problems(specification, component["executorLabel"], defaults),
                *_setting_problems(settings.get(component["executorLabel"], {}), defaults),
            ]
        ),
    ]


def _default_problems(parameters: dict) -> Iterator[str]:
    for name, parameter in parameters.items():
        if "defaultValue" not in parameter:
            # A null where a string is expected fails the tasks that get it.
            if parameter.get("isOptional"):
                yield f"root: {name} is optional and has no default"
        elif not _is_a(parameter["defaultValue"], parameter["parameterType"]):
            yield f"root: the default of {name} is no {parameter['parameterType']}"


def _type_problems(graph: dict, task: dict, component: dict) -> Iterator[str]:
    given = graph.get("inputDefinitions", {}).get("parameters", {})
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        kind = declared.get(name, {}).get("parameterType")
        if "runtimeValue" in source:
            constant = source["runtimeValue"]["constant"]
            if isinstance(constant, str) and "{{$" in constant and kind:
                if constant not in RUNTIME_PLACEHOLDERS:
                    yield f"{name} is the literal text {constant}"
            elif kind and kind != "STRING" and not _is_a(constant, kind):
                yield f"{name} is {constant!r}, no {kind}"
        elif "taskOutputParameter" in source:
            if kind and kind != "STRING":
                yield f"{name} is a text of another task, and should be a {kind}"
        elif reference := source.get("componentInputParameter"):
            passed = given.get(reference, {}).get("parameterType")
            # Anything can be had as a string, and nothing else as something else.
            if kind and passed and kind != "STRING" and _family(kind) != _family(passed):
                yield f"{name} is a {passed}, and should be a {kind}"


def _resource_problems(specification: dict, label: str, defaults: dict) -> Iterator[str]:
    resources = specification["deploymentSpec"]["executors"][label]["container"].get(
        "resources", {}
    )
    accelerator = resources.get("accelerator", {})
    values = {key: value for key, value in resources.items() if key.startswith("resource")}
    if "resourceCount" in accelerator:
        values["resourceCount"] = accelerator["resourceCount"]
    for key, value in values.items():
        if match := INPUT_PARAMETER.fullmatch(value):
            name = match[1].removeprefix("pipelinechannel--")
            if name in _output_parameters(specification):
                continue  # its step gives it when it has run
            value = defaults[name].get("defaultValue", "")
        if not isinstance(value, str) or not QUANTITY.fullmatch(value):
            yield f"{key} is {value!r}, no quantity"


def _output_parameters(specification: dict) -> set[str]:
    """Returns the output parameters of all tasks, as other tasks name them."""
    return {
        f"{name.removeprefix('comp-')}-{output}"
        for name, component in specification["components"].items()
        for output in component.get("outputDefinitions", {}).get("parameters", {})
    }


def _setting_problems(settings: dict, defaults: dict) -> Iterator[str]:
    for item in [*settings.get("secretAsEnv", []), *settings.get("secretAsVolume", [])]:
        if "secretNameParameter" in item:
            if not _default(item["secretNameParameter"], defaults, "STRING"):
                yield "its secret's name is empty by default, or no string"
        elif not item.get("secretName"):
            yield "a secret without a name"
    selector = settings.get("nodeSelector", {}).get("nodeSelectorJson")
    if selector and _default(selector, defaults, "STRUCT") is None:
        yield "its node selector is no mapping"
    for item in settings.get("tolerations", []):
        if (source := item.get("tolerationJson")) and (
            _default(source, defaults, "STRUCT") is None
            and _default(source, defaults, "LIST") is None
        ):
            yield "its tolerations are neither a list nor a mapping"
    for item in settings.get("emptyDirMounts", []):
        # MustParse: a wrong size ends the driver itself.
        if item.get("sizeLimit") and not QUANTITY.fullmatch(item["sizeLimit"]):
            yield f"the driver panics at size {item['sizeLimit']}"
    if "activeDeadlineSeconds" in settings and int(settings["activeDeadlineSeconds"]) <= 0:
        yield "a deadline that the driver ignores"
    for key, value in settings.get("podMetadata", {}).get("labels", {}).items():
        if not LABEL.fullmatch(value):
            yield f"label {key} is {value!r}, which Kubernetes refuses"


def _default(source: dict, defaults: dict, kind: str) -> Any:
    """Return the default of the pipeline parameter behind a setting; None when of another type."""
    if "componentInputParameter" not in source:
        return source["runtimeValue"]["constant"]
    parameter = defaults[source["componentInputParameter"].removeprefix("pipelinechannel--")]
    return parameter.get("defaultValue") if parameter["parameterType"] == kind else None


def _family(kind: str) -> str:
    return "NUMBER" if kind.startswith("NUMBER") else kind


def _is_a(value: Any, kind: str) -> bool:
    return isinstance(value, KINDS[kind]) and (kind == "BOOLEAN" or not isinstance(value, bool))
