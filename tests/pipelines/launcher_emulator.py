"""Runs a compiled pipeline by the cluster's rules: what KFP's driver and launcher do for a pod.

Each task has a file system and an environment of its own; artifacts move between them through a
store, file by file, under minio:// URIs; parameters are written as the driver writes them; the
ExecutorOutput is parsed with KFP's proto and nothing unknown is forgiven.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cluster_rules import INPUT_PARAMETER
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

ROOT = "minio://mlpipeline/v2/artifacts"
NESTED_METADATA = "system.ClassificationMetrics"


@dataclass
class Cluster:
    """A run of one pipeline; `secrets` by name, `sources` is where /app's packages lie."""

    folder: Path
    specification: dict
    platform: dict
    secrets: Mapping[str, Mapping[str, str]]
    sources: Path
    run_id: str = "run-1"
    outputs: dict[str, dict[str, dict]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)

    def run(self, parameters: Mapping[str, Any]) -> None:
        """Runs the root graph with these parameters and the defaults of the others."""
        declared = self.specification["root"]["inputDefinitions"]["parameters"]
        values = {name: item["defaultValue"] for name, item in declared.items()
                  if "defaultValue" in item}  # fmt: skip
        self._run_graph(self.specification["root"], {**values, **parameters})

    def artifact(self, task: str, output: str) -> Path:
        """Returns an output artifact as it lies in the store."""
        return self._in_store(self.outputs[task][output]["uri"])

    def _run_graph(self, graph: dict, values: dict[str, Any]) -> None:
        tasks = dict(graph["dag"]["tasks"])
        done: set[str] = set()
        while tasks:
            ready = [name for name, task in tasks.items()
                     if done.issuperset(task.get("dependentTasks", []))]  # fmt: skip
            assert ready, f"a circle among {sorted(tasks)}"
            for name in ready:
                self._run_task(name, tasks.pop(name), values)
                done.add(name)

    def _run_task(self, name: str, task: dict, group: dict[str, Any]) -> None:
        component = self.specification["components"][task["componentRef"]["name"]]
        inputs = {
            key: self._value(source, group)
            for key, source in task.get("inputs", {}).get("parameters", {}).items()
        }
        for key, value in inputs.items():
            if isinstance(value, str):
                inputs[key] = INPUT_PARAMETER.sub(lambda match: str(inputs[match[1]]), value)
        if "dag" in component:
            self._run_graph(component, inputs)
            return
        artifacts = {
            key: self.outputs[source["taskOutputArtifact"]["producerTask"]][
                source["taskOutputArtifact"]["outputArtifactKey"]
            ]
            for key, source in task.get("inputs", {}).get("artifacts", {}).items()
        }
        self._launch(name, component, inputs, artifacts, group)

    def _value(self, source: dict, group: dict[str, Any]) -> Any:
        if "componentInputParameter" in source:
            return group[source["componentInputParameter"]]
        if "taskFinalStatus" in source:
            return {"state": "COMPLETE", "pipelineTaskName": "x", "error": {}}
        constant = source["runtimeValue"]["constant"]
        runtime = {"{{$.pipeline_job_uuid}}": self.run_id, "{{$.pipeline_job_name}}": "A run"}
        return runtime.get(constant, constant) if isinstance(constant, str) else constant

    def _launch(
        self, name: str, component: dict, inputs: dict, artifacts: dict, group: dict
    ) -> None:
        pod = self.folder / "pods" / name
        pipeline = self.specification["pipelineInfo"]["name"]
        root = f"{ROOT}/{pipeline}/{self.run_id}/{name}/{uuid.uuid4()}"
        outputs = {
            key: {"name": key, "uri": f"{root}/{key}", "type": item["artifactType"]}
            for key, item in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        for artifact in artifacts.values():
            _copy_files(self._in_store(artifact["uri"]), _local(pod, artifact["uri"]))
        for artifact in outputs.values():
            _local(pod, artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
        output_file = _local(pod, f"{root}/output_metadata.json")
        executor_input = {
            "inputs": {
                "parameterValues": inputs,
                # On the way back the backend adds keys, and an identifier for a name.
                "artifacts": {key: {"artifacts": [_seen_downstream(item)]}
                              for key, item in artifacts.items()},
            },
            "outputs": {
                "artifacts": {key: {"artifacts": [item]} for key, item in outputs.items()},
                "outputFile": str(output_file),
            },
        }  # fmt: skip
        json_format.ParseDict(executor_input, pipeline_spec_pb2.ExecutorInput())
        placeholders = {"{{$}}": json.dumps(executor_input)}
        for key, value in inputs.items():
            placeholders[f"{{{{$.inputs.parameters['{key}']}}}}"] = rendered(value)
        for side, items in (("inputs", artifacts), ("outputs", outputs)):
            for key, item in items.items():
                prefix = f"{{{{$.{side}.artifacts['{key}']"
                placeholders[prefix + ".path}}"] = str(_local(pod, item["uri"]))
                placeholders[prefix + ".uri}}"] = item["uri"]
        label = component["executorLabel"]
        container = self.specification["deploymentSpec"]["executors"][label]["container"]
        command = [container["command"][0]]
        for argument in [*container["command"][1:], *container["args"]]:
            for placeholder, value in placeholders.items():
                if placeholder != "{{$}}" or argument == "{{$}}":
                    argument = argument.replace(placeholder, value)
            assert argument == placeholders["{{$}}"] or "{{$" not in argument, argument
            command.append(argument)
        self._execute(name, pod, command, label, group)
        self._publish(name, pod, outputs, output_file)

    def _execute(self, name: str, pod: Path, command: list[str], label: str, group: dict) -> None:
        assert command[0] == "python"
        pod.mkdir(parents=True, exist_ok=True)
        # Short, as a pod's /tmp is: multiprocessing's sockets lie in it.
        with tempfile.TemporaryDirectory(prefix="pod") as temporary:
            done = subprocess.run(
                [sys.executable, *command[1:]],
                cwd=pod,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": temporary,
                    "TMPDIR": temporary,
                    "PYTHONPATH": str(self.sources),
                    "OMP_NUM_THREADS": "2",
                    "HF_HUB_OFFLINE": "1",
                    **self._secret_variables(label, group),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        self.logs[name] = done.stdout
        assert done.returncode == 0, f"{name}: exit code {done.returncode}\n{done.stdout[-3000:]}"

    def _secret_variables(self, label: str, group: dict) -> dict[str, str]:
        executors = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        variables = {}
        for item in executors.get(label, {}).get("secretAsEnv", []):
            secret = self.secrets[group[item["secretNameParameter"]["componentInputParameter"]]]
            for pair in item["keyToEnv"]:
                if pair["secretKey"] in secret:
                    variables[pair["envVar"]] = secret[pair["secretKey"]]
                else:
                    assert item.get("optional"), f"no key {pair['secretKey']} in the secret"
        return variables

    def _publish(self, name: str, pod: Path, outputs: dict, output_file: Path) -> None:
        listed = read_executor_output(output_file.read_text(), outputs)
        for key, artifact in outputs.items():
            local = _local(pod, artifact["uri"])
            assert local.exists(), f"{name}: no output {key}"
            _copy_files(local, self._in_store(artifact["uri"]))
            artifact["metadata"] = listed.get(key, {})
        self.outputs[name] = outputs
        shutil.rmtree(pod)

    def _in_store(self, uri: str) -> Path:
        return self.folder / "store" / uri.split("://", 1)[1]


def rendered(value: Any) -> str:
    """Writes a parameter as the driver writes it into an argument."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return np.format_float_positional(value, trim="-")
    return value if isinstance(value, str) else json.dumps(value)


def read_executor_output(text: str, outputs: dict[str, dict]) -> dict[str, dict]:
    """Returns the metadata by artifact, or fails where the launcher fails the task.

    Raises:
        ValueError: NaN, an unknown field or output, null, or a list or object in flat metadata.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    content = json.loads(text, parse_constant=refuse)
    json_format.ParseDict(content, pipeline_spec_pb2.ExecutorOutput())
    listed = {}
    for key, item in content.get("artifacts", {}).items():
        if key not in outputs:
            raise ValueError(f"unknown output {key}")
        (artifact,) = item["artifacts"]
        if artifact["uri"] != outputs[key]["uri"]:
            raise ValueError(f"{key} has moved to {artifact['uri']}")
        listed[key] = artifact.get("metadata", {})
        for name, value in listed[key].items():
            nested = isinstance(value, list | dict)
            if value is None or nested and outputs[key]["type"]["schemaTitle"] != NESTED_METADATA:
                raise ValueError(f"{key}: metadata {name} is {value!r}")
    return listed


def _seen_downstream(artifact: dict) -> dict:
    metadata = {**artifact.get("metadata", {}), "display_name": artifact["name"],
                "store_session_info": "{}"}  # fmt: skip
    return {**artifact, "name": "17", "metadata": metadata}


def _local(pod: Path, uri: str) -> Path:
    scheme, _, rest = uri.partition("://")
    return pod / scheme / rest


def _copy_files(source: Path, target: Path) -> None:
    """Copies regular files alone: the launcher keeps no empty folder, link, or permission."""
    for path in [source] if source.is_file() else sorted(source.rglob("*")):
        assert not path.is_symlink(), f"{path}: the launcher cannot upload a link"
        if path.is_file():
            copy = target / path.relative_to(source) if path != source else target
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
