"""Runs a compiled pipeline by the cluster's rules: what KFP's drivers do for its graph.

Groups see their own inputs alone, loops run their group once an item and collect its outputs, an
exit task runs whatever happened in the group that it waits for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driver_rules import INPUT_PARAMETER
from pod_emulator import Artifacts, Pods, TaskFailedError

RUNS_AT_EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass
class Scope:
    """What the tasks of one graph see: the graph's inputs, and one another's outputs."""

    parameters: Mapping[str, Any]
    artifacts: Artifacts
    outputs: dict[str, Artifacts] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


@dataclass
class Cluster:
    """A run of one pipeline; `outputs` by task, tasks of a loop as 'for-loop-1[0]/train'."""

    pods: Pods
    outputs: dict[str, Artifacts] = field(default_factory=dict)

    def run(self, parameters: Mapping[str, Any]) -> None:
        """Runs the root graph with these parameters and the defaults of the others.

        Raises:
            TaskFailedError: a task failed; the exit tasks have run.
        """
        root = self.pods.specification["root"]
        declared = root["inputDefinitions"]["parameters"]
        values = {name: item["defaultValue"] for name, item in declared.items()
                  if "defaultValue" in item}  # fmt: skip
        self._run_graph("", root, Scope({**values, **parameters}, {}))

    def artifact(self, task: str, output: str) -> Path:
        """Returns an output artifact as it lies in the store."""
        (artifact,) = self.outputs[task][output]
        return self.pods.in_store(artifact["uri"])

    def _run_graph(self, prefix: str, graph: dict, scope: Scope) -> Artifacts:
        """Runs the tasks in their order; returns the outputs of the graph."""
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
                    scope.states[name] = "COMPLETE"
                except TaskFailedError as error:
                    scope.states[name], failure = "FAILED", failure or error
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
        states = {scope.states.get(name) for name in task.get("dependentTasks", [])}
        if task.get("triggerPolicy", {}).get("strategy") == RUNS_AT_EXIT:
            return None not in states
        return states <= {"COMPLETE"}

    def _run_task(self, prefix: str, name: str, task: dict, scope: Scope) -> Artifacts:
        component = self.pods.specification["components"][task["componentRef"]["name"]]
        sources = task.get("inputs", {})
        inputs = {
            key: self._value(source, scope) for key, source in sources.get("parameters", {}).items()
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
        self.outputs[path] = self.pods.launch(path, component, inputs, artifacts, group)
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

    def _value(self, source: dict, scope: Scope) -> Any:
        if "componentInputParameter" in source:
            return scope.parameters[source["componentInputParameter"]]
        if status := source.get("taskFinalStatus"):
            group = status["producerTask"]
            return {"state": scope.states[group], "pipelineTaskName": group, "error": {}}
        constant = source["runtimeValue"]["constant"]
        runtime = {"{{$.pipeline_job_uuid}}": self.pods.run_id, "{{$.pipeline_job_name}}": "A run"}
        return runtime.get(constant, constant) if isinstance(constant, str) else constant

    def _artifacts(self, source: dict, scope: Scope) -> list[dict]:
        if "componentInputArtifact" in source:
            return scope.artifacts[source["componentInputArtifact"]]
        produced = source["taskOutputArtifact"]
        return scope.outputs[produced["producerTask"]][produced["outputArtifactKey"]]
