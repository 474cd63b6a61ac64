"""What KFP's API server and Go compiler refuse, or compile into something else than was meant.

Stands for KFP's API server and its compiler to Argo; read, since Go modules cannot be run here,
at kubeflow/pipelines 2.17.0 (7b70c7b): backend/src/apiserver/template/v2_template.go,
backend/src/v2/compiler/visitor.go, backend/src/v2/compiler/argocompiler/{argo,dag,container}.go.
"""

import json
import re
from collections.abc import Iterator

import yaml

SCHEMA_VERSION = "2.1.0"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# Argo: a template is named after its component or its task.
TEMPLATE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]{0,127}")
DUMMY_IMAGES = ("argostub/createpvc", "argostub/deletepvc")
# What YAML 1.2 takes for a number or a truth, and YAML 1.1, in which KFP writes, does not.
GO_SCALAR = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+|[-+]?\.(inf|nan)", re.I)


def compiler_problems(specification: dict) -> list[str]:
    """Return every reason for which the compiler refuses a pipeline, or changes its meaning."""
    return [
        *_header_problems(specification),
        *_container_problems(specification),
        *(
            problem
            for name, graph in graphs(specification)
            for problem in _graph_problems(name, graph, specification)
        ),
    ]


def graphs(specification: dict) -> Iterator[tuple[str, dict]]:
    """Yield the graphs of a pipeline: the root, and the components that are groups of tasks."""
    for name, component in [("root", specification["root"]), *specification["components"].items()]:
        if "dag" in component:
            yield name, component


def scalars_that_go_reads_otherwise(text: str) -> list[str]:
    """Return texts that stand unquoted in a file, and are numbers to Go's YAML."""
    return [
        node.value
        for document in yaml.compose_all(text)
        for node in _scalars(document)
        if node.tag.endswith(":str") and node.style is None and GO_SCALAR.fullmatch(node.value)
    ]


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)
    elif isinstance(node, yaml.MappingNode):
        for _key, value in node.value:
            yield from _scalars(value)


def _header_problems(specification: dict) -> Iterator[str]:
    if specification["schemaVersion"] != SCHEMA_VERSION:
        yield f"schema version {specification['schemaVersion']}"
    if not NAME.fullmatch(specification["pipelineInfo"].get("name", "")):
        yield "pipelineInfo.name is empty, or no Kubernetes name"
    if "root" in specification["components"]:
        yield "component name root is reserved"


def _container_problems(specification: dict) -> Iterator[str]:
    executors = specification["deploymentSpec"]["executors"]
    seen: dict[str, str] = {}
    for name, component in specification["components"].items():
        if "dag" in component:
            continue
        executor = executors.get(component.get("executorLabel"))
        if executor is None or "container" not in executor:
            yield f"{name}: no container executor, and no other kind is implemented"
            continue
        container = executor["container"]
        if container["image"] in DUMMY_IMAGES:
            yield f"{name}: its image means a volume to the compiler"
        # Component specifications are kept under a hash of their container.
        same = seen.setdefault(json.dumps(container, sort_keys=True), name)
        if same != name:
            yield f"{name}: the same container as {same}, whose interface it would be given"


def _graph_problems(graph_name: str, graph: dict, specification: dict) -> Iterator[str]:
    tasks = graph["dag"]["tasks"]
    given = graph.get("inputDefinitions", {})
    for name, task in tasks.items():
        where = f"{graph_name}/{name}"
        component_name = task.get("componentRef", {}).get("name", "")
        component = specification["components"].get(component_name)
        if component is None:
            yield f"{where}: no component {component_name!r}"
            continue
        if not TEMPLATE.fullmatch(name) or not TEMPLATE.fullmatch(component_name):
            yield f"{where}: its name, or its component's, is invalid for an Argo template"
        if "dag" in component and task["taskInfo"]["name"] != name:
            # Issue 13239: Collected looks a group up by its key.
            yield f"{where}: a group with a name, by which it is not found"
        yield from _source_problems(where, task, tasks, given, specification["components"])
        yield from _loop_problems(where, task, component)
    for key, output in graph["dag"].get("outputs", {}).get("artifacts", {}).items():
        for selector in output["artifactSelectors"]:
            if selector["producerSubtask"] not in tasks:
                yield f"{graph_name}: output {key} of {selector['producerSubtask']}"


def _source_problems(
    where: str, task: dict, tasks: dict, given: dict, components: dict
) -> Iterator[str]:
    """Check where each input comes from, and what a task waits for."""
    inputs = task.get("inputs", {})
    for key, source in inputs.get("artifacts", {}).items():
        if reference := source.get("componentInputArtifact"):
            if reference not in given.get("artifacts", {}):
                yield f"{where}: artifact {key} comes from {reference}, which its group lacks"
        else:
            produced = source["taskOutputArtifact"]
            producer = tasks.get(produced["producerTask"])
            if producer is None:
                yield f"{where}: artifact {key} comes from {produced['producerTask']}, elsewhere"
                continue
            component = components[producer["componentRef"]["name"]]
            outputs = component.get("outputDefinitions", {}).get("artifacts", {})
            if produced["outputArtifactKey"] not in outputs:
                yield f"{where}: artifact {key} is no output of {produced['producerTask']}"
    for upstream in task.get("dependentTasks", []):
        if upstream not in tasks:
            yield f"{where}: waits for {upstream}, which is not in its group"


def _loop_problems(where: str, task: dict, component: dict) -> Iterator[str]:
    if "artifactIterator" in task:
        yield f"{where}: loops over artifacts are not implemented"
    if (loop := task.get("parameterIterator")) is None:
        return
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    items = loop["items"].get("inputParameter")
    if items and items not in task.get("inputs", {}).get("parameters", {}):
        yield f"{where}: loops over {items}, which is not passed"
    if loop["itemInput"] not in declared:
        yield f"{where}: its item {loop['itemInput']} is no input of the group"
