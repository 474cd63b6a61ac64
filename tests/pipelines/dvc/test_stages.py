"""The stages are the pipeline: the same commands, parameters and edges. DVC is not needed here."""

import pytest
import yaml

from components.node_options import NodeOptions
from components.options import options_of
from pipelines.compilation import SEGMENTATION_YAML
from pipelines.dvc.source import resolve_source
from pipelines.dvc.stages import LEFT_OUT, SHARDS, make_stages, write_stages
from segmentor.errors import ConfigError


@pytest.fixture(scope="module")
def tasks():
    """The tasks of the compiled pipeline that become stages."""
    specification = next(yaml.safe_load_all(SEGMENTATION_YAML.read_text(encoding="utf-8")))
    found = specification["root"]["dag"]["tasks"]
    return {name: task for name, task in found.items() if name not in LEFT_OUT}


def test_the_edges_are_the_pipelines(tasks):
    stages, _ = make_stages()
    assert set(stages) == {name.replace("-", "_") for name in tasks}
    for name, task in tasks.items():
        artifacts = task.get("inputs", {}).get("artifacts", {}).values()
        expected = {
            f"artifacts/{item['taskOutputArtifact']['producerTask'].replace('-', '_')}/"
            f"{item['taskOutputArtifact']['outputArtifactKey']}"
            for item in artifacts
        }
        # A split's lists point at the shards of convert_labels.
        expected |= {SHARDS for path in expected if path.startswith("artifacts/split/")}
        assert set(stages[name.replace("-", "_")].get("deps", ())) == expected


def test_each_dependency_is_an_output_of_an_earlier_stage():
    written = set()
    for stage in make_stages()[0].values():
        assert set(stage.get("deps", ())) <= written
        written |= set(stage["outs"])


def test_the_parameters_are_the_pipelines_defaults(tasks):
    _, parameters = make_stages()
    assert parameters["split"]["ratios"] == "0.7,0.2,0.1"
    assert parameters["split"]["seed"] == 0
    assert isinstance(parameters["split"]["seed"], int)
    assert parameters["split"]["honour-subsets"] == "false"
    for name, task in tasks.items():
        bound = [
            value
            for key, value in task.get("inputs", {}).get("parameters", {}).items()
            if "componentInputParameter" in value and not key.startswith("pipelinechannel")
        ]
        # cache_salt only tells KFP to run again, where DVC has --force; the others are a cluster's.
        only = ("cache_salt", "destination", *options_of(NodeOptions))
        knobs = [item for item in bound if item["componentInputParameter"] not in only]
        assert len(parameters.get(name.replace("-", "_"), {})) == len(knobs)


def test_files_that_are_there_are_not_overwritten(tmp_path):
    write_stages(tmp_path, "task.zip")
    assert yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]["convert_labels"][
        "deps"
    ] == ["${convert_labels.source}"]
    with pytest.raises(ConfigError, match="dvc.yaml: it exists"):
        write_stages(tmp_path, "task.zip")


def test_an_object_is_no_dependency_that_dvc_could_watch(tmp_path):
    write_stages(tmp_path, "s3://datasets/task.zip", "model=tiny")
    written = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    assert "deps" not in written["stages"]["convert_labels"]
    parameters = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert parameters["train"] == {"train-overrides": "model=tiny"}


def test_other_sources_stay_as_they_are():
    assert resolve_source("s3://datasets/task.zip") == "s3://datasets/task.zip"
    assert resolve_source("dvc/task.zip") == "dvc/task.zip"


def test_a_revision_without_dvc_names_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="no dvc on the PATH, expected DVC; pip install dvc"):
        resolve_source("dvc:task.zip@v1")
    with pytest.raises(ConfigError, match="no path, expected dvc:PATH@REVISION"):
        resolve_source("dvc:@v1")
