"""Write the pipeline as stages of DVC: the same steps, commands and edges as on a cluster.

`dvc repro` runs what has changed; `dvc exp run -S split.seed=1` tries other parameters.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from components.node_options import NodeOptions
from components.options import options_of
from pipelines.compilation import SEGMENTATION_YAML
from pipelines.parameters import load_pipeline
from segmentor.errors import ConfigError

STAGES_FILE = "dvc.yaml"
PARAMETERS_FILE = "params.yaml"
# Publishing a model and asking a cluster are no computations that DVC could keep the results of.
LEFT_OUT = ("check-deployment", "deploy")
# Where a lost pod's training is kept, what makes KFP run a step again, and nodes: not for DVC.
CLUSTER_ONLY = ("destination", "cache_salt", *options_of(NodeOptions))
# The pixels of every data set: split only lists them.
SHARDS = "artifacts/convert_labels/dataset"
PER_IMAGE = "artifacts/evaluate/evaluation/per_image.csv"
_PLACEHOLDER = re.compile(
    r"\{\{\$\.(inputs|outputs)\.(artifacts|parameters)\['([^']+)'\](?:\.path)?\}\}"
)
_SUFFIXES = {"system.HTML": ".html", "system.Metrics": ".json"}
_SUFFIXES["system.ClassificationMetrics"] = ".json"


def write_stages(folder: Path, source: str, overrides: str = "") -> None:
    """Write dvc.yaml and params.yaml.

    Args:
        folder: The root of a repository, or a folder in it; must exist.
        source: The export, relative to the folder, or an s3:// URI.
        overrides: Hydra overrides of training.

    Raises:
        ConfigError: one of the files is there already.
    """
    for name in (STAGES_FILE, PARAMETERS_FILE):
        if (folder / name).exists():
            raise ConfigError(
                str(folder / name), "it exists", "a folder without it", "move it away"
            )
    stages, parameters = make_stages()
    parameters["convert_labels"]["source"] = source
    parameters["train"]["train-overrides"] = overrides
    if "://" not in source:
        stages["convert_labels"]["deps"] = ["${convert_labels.source}"]
    plots = [{PER_IMAGE: {"template": "scatter", "x": "dice_loss", "y": "iou_score"}}]
    _write(folder / PARAMETERS_FILE, parameters)
    _write(folder / STAGES_FILE, {"stages": stages, "plots": plots})


def make_stages() -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the stages, and the parameters of each, out of the compiled pipeline."""
    specification = load_pipeline(SEGMENTATION_YAML)
    tasks = specification["root"]["dag"]["tasks"]
    declared = specification["root"]["inputDefinitions"]["parameters"]
    defaults = {name: _default(definition) for name, definition in declared.items()}
    stages: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for name, task in tasks.items():
        if name in LEFT_OUT:
            continue
        component = specification["components"][task["componentRef"]["name"]]
        executors = specification["deploymentSpec"]["executors"]
        container = executors[component["executorLabel"]]["container"]
        key = name.replace("-", "_")
        stages[key], parameters[key] = _stage(key, task, component, container, defaults)
    in_order = sorted(stages, key=lambda key: _depth(key.replace("_", "-"), tasks))
    given = {key: parameters[key] for key in in_order if parameters[key]}
    return {key: stages[key] for key in in_order}, given


def _stage(
    key: str,
    task: Mapping[str, Any],
    component: Mapping[str, Any],
    container: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    bound = task.get("inputs", {})
    outputs = component["outputDefinitions"]["artifacts"]
    paths, knobs = [], {}
    dependencies: list[str] = []
    kept: list[str] = []
    metrics: list[str] = []
    for flag, value in _flags(container["args"]):
        place = _PLACEHOLDER.fullmatch(value)
        if place is None:
            continue  # KFP's own executor input: the step does without
        direction, kind, name = place.groups()
        if direction == "outputs":
            schema = outputs[name]["artifactType"]["schemaTitle"]
            path = f"artifacts/{key}/{name}{_SUFFIXES.get(schema, '')}"
            (metrics if schema == "system.Metrics" else kept).append(path)
            paths.append(f"{flag} {path}")
        elif kind == "artifacts":
            producer = bound["artifacts"][name]["taskOutputArtifact"]
            path = _path_of(producer)
            dependencies.append(path)
            if producer["producerTask"] == "split":
                dependencies.append(SHARDS)
            paths.append(f"{flag} {path}")
        else:
            binding = bound["parameters"][name]
            pipeline_parameter = binding.get("componentInputParameter", "")
            # What another task found out has no parameter; DVC watches the export by itself.
            if pipeline_parameter and pipeline_parameter not in CLUSTER_ONLY:
                knobs[flag.removeprefix("--")] = defaults.get(pipeline_parameter, "")
    # DVC quotes the values of a mapping for the shell, which a single value is not.
    command = [*container["command"], *paths, *([f"${{{key}}}"] if knobs else [])]
    stage: dict[str, Any] = {"cmd": " ".join(command)}
    if dependencies:
        stage["deps"] = list(dict.fromkeys(dependencies))
    stage["outs"] = kept
    if metrics:
        stage["metrics"] = [{path: {"cache": False}} for path in metrics]
    return stage, knobs


def _flags(arguments: list[str]) -> Iterator[tuple[str, str]]:
    return zip(arguments[::2], arguments[1::2], strict=True)


def _path_of(producer: Mapping[str, str]) -> str:
    """Return the folder that a stage reads."""
    key = producer["producerTask"].replace("-", "_")
    return f"artifacts/{key}/{producer['outputArtifactKey']}"


def _depth(name: str, tasks: Mapping[str, Any]) -> int:
    before = [task for task in tasks[name].get("dependentTasks", ()) if task not in LEFT_OUT]
    return 1 + max((_depth(task, tasks) for task in before), default=0)


def _default(definition: Mapping[str, Any]) -> object:
    value = definition.get("defaultValue", "")
    if isinstance(value, bool):
        # DVC writes true as a flag without a value.
        return str(value).lower()
    return int(value) if definition["parameterType"] == "NUMBER_INTEGER" else value


def _write(path: Path, value: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(value, sort_keys=False, width=1000)
    path.write_text(text, encoding="utf-8")
