"""Runs a compiled pipeline by the cluster's rules: what KFP's drivers do for its graph.

Stands for KFP's driver and Argo's workflow controller; read at kubeflow/pipelines 2.17.0 (7b70c7b),
backend/src/v2/driver.

Groups see only their own inputs; a loop runs its group once per item and collects the outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.emulators.driver_rules import INPUT_PARAMETER
from tests.emulators.pod_emulator import Artifacts, Pods, TaskFailedError


@dataclass
class Scope:
    """What the tasks of one graph see: the graph's inputs, and one another's outputs."""

    parameters: Mapping[str, Any]
    artifacts: Artifacts
    outputs: dict[str, Artifacts] = field(default_factory=dict)


@dataclass
class Cluster:
    """A run of one pipeline; `outputs` by task, tasks of a loop as 'for-loop-1[0]/train'."""

    pods: Pods
    outputs: dict[str, Artifacts] = field(default_factory=dict)

    def run(self, parameters: Mapping[str, Any]) -> None:
        """Run the root graph with these parameters and the defaults of the others.

        Raises:
            TaskFailedError: a task failed.
        """
        root = self.pods.specification["root"]
        declared = root["inputDefinitions"]["parameters"]
        values = {name: item["defaultValue"] for name, item in declared.items()
                  if "defaultValue" in item}  # fmt: skip
        self._run_graph("", root, Scope({**values, **parameters}, {}))

    def artifact(self, task: str, output: str) -> Path:
        """Return an output artifact as it lies in the store."""
        (artifact,) = self.outputs[task][output]
        return self.pods.in_store(artifact["uri"])

    def _run_graph(self, prefix: str, graph: dict, scope: Scope) -> Artifacts:
        """Run the tasks in their order; return the outputs of the graph."""
        tasks = dict(graph["dag"]["tasks"])
        failure: TaskFailedError | None = None
        while tasks:
            ready = [name for name, task in tasks.items() if self._is_ready(task, scope)]
            if not ready:
                assert failure, f"a circle among {sorted(tasks)}"
                raise failure
            for name in ready:
                try:
                    scope.outputs[name] = self._run_task(prefix, name, tasks.pop(name), scope)
                except TaskFailedError as error:
                    failure = failure or error
        if failure:
            raise failure
        return {
            key: [
                artifact
                for selector in output["artifactSelectors"]
                for artifact in scope.outputs[selector["producerSubtask"]][
                    selector["outputArtifactKey"]
                ]
            ]
            for key, output in graph["dag"].get("outputs", {}).get("artifacts", {}).items()
        }

    def _is_ready(self, task: dict, scope: Scope) -> bool:
        return all(name in scope.outputs for name in task.get("dependentTasks", []))

    def _run_task(self, prefix: str, name: str, task: dict, scope: Scope) -> Artifacts:
        component = self.pods.specification["components"][task["componentRef"]["name"]]
        sources = task.get("inputs", {})
        inputs = {
            key: self._value(prefix, source, scope)
            for key, source in sources.get("parameters", {}).items()
        }
        for key, value in inputs.items():
            if isinstance(value, str):
                inputs[key] = INPUT_PARAMETER.sub(lambda match: str(inputs[match[1]]), value)
        artifacts = {
            key: self._artifacts(source, scope)
            for key, source in sources.get("artifacts", {}).items()
        }
        if loop := task.get("parameterIterator"):
            return self._run_loop(f"{prefix}{name}", component, loop, inputs, artifacts)
        if "dag" in component:
            # A group's name says nothing of a task in it, but for a loop's.
            return self._run_graph(prefix, component, Scope(inputs, artifacts))
        path = f"{prefix}{name}"
        group = dict(scope.parameters)
        is_cached = task.get("cachingOptions", {}).get("enableCache", False)
        launch = self.pods.launch_or_reuse if is_cached else self.pods.launch
        self.outputs[path] = launch(path, component, inputs, artifacts, group)
        return self.outputs[path]

    def _run_loop(
        self, path: str, component: dict, loop: dict, inputs: dict, artifacts: Artifacts
    ) -> Artifacts:
        items_name = loop["items"]["inputParameter"]
        collected: dict[str, list[dict]] = {}
        for index, item in enumerate(inputs[items_name]):
            # An iteration sees its item, and not the list.
            values = {key: value for key, value in inputs.items() if key != items_name}
            scope = Scope({**values, loop["itemInput"]: item}, artifacts)
            outputs = self._run_graph(f"{path}[{index}]/", component, scope)
            for key, found in outputs.items():
                collected.setdefault(key, []).extend(found)
        return collected

    def _value(self, prefix: str, source: dict, scope: Scope) -> Any:
        if "componentInputParameter" in source:
            return scope.parameters[source["componentInputParameter"]]
        if produced := source.get("taskOutputParameter"):
            task = f"{prefix}{produced['producerTask']}"
            return self.pods.parameters[task][produced["outputParameterKey"]]
        constant = source["runtimeValue"]["constant"]
        runtime = {"{{$.pipeline_job_uuid}}": self.pods.run_id, "{{$.pipeline_job_name}}": "A run"}
        return runtime.get(constant, constant) if isinstance(constant, str) else constant

    def _artifacts(self, source: dict, scope: Scope) -> list[dict]:
        if "componentInputArtifact" in source:
            return scope.artifacts[source["componentInputArtifact"]]
        produced = source["taskOutputArtifact"]
        return scope.outputs[produced["producerTask"]][produced["outputArtifactKey"]]
