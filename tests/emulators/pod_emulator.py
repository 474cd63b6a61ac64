"""Runs one task as a pod, by the rules of KFP's driver and launcher.

Stands for KFP's launcher and Argo's pods; read at kubeflow/pipelines 2.17.0 (7b70c7b),
backend/src/v2/component/launcher_v2.go.

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

ROOT = "minio://mlpipeline/v2/artifacts"
NESTED_METADATA = "system.ClassificationMetrics"
Artifacts = Mapping[str, list[dict]]


class TaskFailedError(Exception):
    """A task's command did not exit 0."""


@dataclass
class Pods:
    """Where tasks run; `secrets` by name, `sources` is where /app's packages lie."""

    folder: Path
    specification: dict
    platform: dict
    secrets: Mapping[str, Mapping[str, str]]
    sources: Path
    run_id: str = "run-1"
    logs: dict[str, str] = field(default_factory=dict)
    # The output parameters of each task.
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    # What tasks of earlier runs gave: output artifacts and parameters.
    cache: dict[str, tuple[Artifacts, dict[str, str]]] = field(default_factory=dict)

    def next_run(self, run_id: str) -> "Pods":
        """Return the pods of another run, which shares the store and the cache."""
        return replace(self, run_id=run_id, logs={}, parameters={})

    def launch_or_reuse(
        self, name: str, component: dict, inputs: dict, artifacts: Artifacts, group: dict
    ) -> Artifacts:
        """Return what an equal task gave before, without a pod, else run it.

        Source: backend/src/v2/driver/cache.go and cacheutils: the container's image as text, its
        command and arguments, parameters, the identifiers of artifacts, and what is put out.
        """
        container = self.specification["deploymentSpec"]["executors"][component["executorLabel"]]
        uris = {key: [item["uri"] for item in items] for key, items in artifacts.items()}
        key = json.dumps([container, inputs, uris, component.get("outputDefinitions")])
        if key not in self.cache:
            outputs = self.launch(name, component, inputs, artifacts, group)
            self.cache[key] = outputs, self.parameters[name]
        outputs, self.parameters[name] = self.cache[key]
        return outputs

    def launch(
        self, name: str, component: dict, inputs: dict, artifacts: Artifacts, group: dict
    ) -> Artifacts:
        """Run a task and return its output artifacts; `group` has its group's parameters."""
        pod = self.folder / "pods" / name.replace("/", "-")
        pipeline = self.specification["pipelineInfo"]["name"]
        root = f"{ROOT}/{pipeline}/{self.run_id}/{name.rsplit('/', 1)[-1]}/{uuid.uuid4()}"
        outputs = {
            key: {"name": key, "uri": f"{root}/{key}", "type": item["artifactType"]}
            for key, item in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        for artifact in [item for items in artifacts.values() for item in items]:
            _copy_files(self.in_store(artifact["uri"]), _local(pod, artifact["uri"]))
        for artifact in outputs.values():
            _local(pod, artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
        declared = component.get("outputDefinitions", {}).get("parameters", {})
        texts = {key: _local(pod, f"{root}/{key}") for key in declared}
        output_file = _local(pod, f"{root}/output_metadata.json")
        executor_input = {
            "inputs": {
                "parameterValues": inputs,
                "artifacts": {
                    key: {"artifacts": [_seen_downstream(pod, item) for item in items]}
                    for key, items in artifacts.items()
                },
            },
            "outputs": {
                "artifacts": {key: {"artifacts": [item]} for key, item in outputs.items()},
                "parameters": {key: {"outputFile": str(text)} for key, text in texts.items()},
                "outputFile": str(output_file),
            },
        }
        json_format.ParseDict(executor_input, pipeline_spec_pb2.ExecutorInput())
        placeholders = {"{{$}}": json.dumps(executor_input)}
        for key, value in inputs.items():
            placeholders[f"{{{{$.inputs.parameters['{key}']}}}}"] = rendered(value)
        for side, items in (("inputs", artifacts), ("outputs", outputs)):
            for key, item in items.items():
                if isinstance(item, list):
                    if len(item) > 1:  # no placeholder is replaced by a list
                        continue
                    (item,) = item
                prefix = f"{{{{$.{side}.artifacts['{key}']"
                placeholders[prefix + ".path}}"] = str(_local(pod, item["uri"]))
                placeholders[prefix + ".uri}}"] = item["uri"]
        for key, text in texts.items():
            placeholders[f"{{{{$.outputs.parameters['{key}'].output_file}}}}"] = str(text)
        label = component["executorLabel"]
        container = self.specification["deploymentSpec"]["executors"][label]["container"]
        command = [container["command"][0], *_resolved(container, placeholders)]
        self._execute(name, pod, command, label, group)
        # The launcher fails a task that has not written a declared parameter.
        self.parameters[name] = {key: text.read_text() for key, text in texts.items()}
        return self._publish(name, pod, outputs, output_file)

    def in_store(self, uri: str) -> Path:
        """Return where an artifact lies between pods."""
        return self.folder / "store" / uri.split("://", 1)[1]

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
                    # Every pod has it.
                    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
                    **self._secret_variables(label, group),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        self.logs[name] = done.stdout
        if done.returncode:
            text = f"{name}: exit code {done.returncode}\n{done.stdout[-3000:]}"
            raise TaskFailedError(text)

    def _secret_variables(self, label: str, group: dict) -> dict[str, str]:
        executors = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        variables = {}
        for item in executors.get(label, {}).get("secretAsEnv", []):
            source = item["secretNameParameter"]
            if "runtimeValue" in source:
                secret = self.secrets.get(source["runtimeValue"]["constant"], {})
            else:
                secret = self.secrets[group[source["componentInputParameter"]]]
            for pair in item["keyToEnv"]:
                if pair["secretKey"] in secret:
                    variables[pair["envVar"]] = secret[pair["secretKey"]]
                else:
                    assert item.get("optional"), f"no key {pair['secretKey']} in the secret"
        return variables

    def _publish(self, name: str, pod: Path, outputs: dict, output_file: Path) -> Artifacts:
        listed = read_executor_output(output_file.read_text(), outputs)
        for key, artifact in outputs.items():
            local = _local(pod, artifact["uri"])
            assert local.exists(), f"{name}: no output {key}"
            _copy_files(local, self.in_store(artifact["uri"]))
            artifact["metadata"] = listed.get(key, {})
        shutil.rmtree(pod)
        return {key: [artifact] for key, artifact in outputs.items()}


def _resolved(container: dict, placeholders: Mapping[str, str]) -> list[str]:
    """Put the values into all but the first element, which the launcher leaves alone."""
    resolved = []
    for argument in [*container["command"][1:], *container["args"]]:
        for placeholder, value in placeholders.items():
            if placeholder != "{{$}}" or argument == "{{$}}":
                argument = argument.replace(placeholder, value)
        assert argument == placeholders["{{$}}"] or "{{$" not in argument, argument
        resolved.append(argument)
    return resolved


def rendered(value: Any) -> str:
    """Write a parameter as the driver writes it into an argument."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return np.format_float_positional(value, trim="-")
    return value if isinstance(value, str) else json.dumps(value)


def read_executor_output(text: str, outputs: dict[str, dict]) -> dict[str, dict]:
    """Return the metadata by artifact, or fail where the launcher fails the task.

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


def _seen_downstream(pod: Path, artifact: dict) -> dict:
    """On the way back the backend adds keys, and has an identifier for a name.

    `customPath` stands for the launcher's mount points, which a test cannot have.
    """
    metadata = {**artifact.get("metadata", {}), "display_name": artifact["name"],
                "store_session_info": "{}"}  # fmt: skip
    path = str(_local(pod, artifact["uri"]))
    return {**artifact, "name": "17", "metadata": metadata, "customPath": path}


def _local(pod: Path, uri: str) -> Path:
    scheme, _, rest = uri.partition("://")
    return pod / scheme / rest


def _copy_files(source: Path, target: Path) -> None:
    """Copy regular files alone: the launcher keeps no empty folder, link, or permission."""
    for path in [source] if source.is_file() else sorted(source.rglob("*")):
        assert not path.is_symlink(), f"{path}: the launcher cannot upload a link"
        if path.is_file():
            copy = target / path.relative_to(source) if path != source else target
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
