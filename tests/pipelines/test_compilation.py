import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compilation import (
    LABELLING_YAML,
    SEGMENTATION_YAML,
    SWEEP_YAML,
    compile_manifest,
    compile_pipeline,
    with_registry,
)
from pipelines.parameters import load_pipeline, pipeline_parameters
from segmentor.errors import ConfigError


def test_both_pipelines_have_the_same_parameters_but_for_what_is_trained():
    one, many = (set(pipeline_parameters(path)) for path in (SEGMENTATION_YAML, SWEEP_YAML))
    assert one - many == {"train_overrides"}
    assert many - one == {"override_sets", "metric"}


def test_the_manifests_hold_the_same_pipeline_as_the_yaml(tmp_path):
    path = compile_manifest(SEGMENTATION_YAML, tmp_path / "manifest.yaml", "segmentation-0.1.0")
    pipeline, version = yaml.safe_load_all(path.read_text())
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    # By which submit looks for it.
    assert version["spec"]["displayName"] == "segmentation-0.1.0"
    assert pipeline["apiVersion"] == version["apiVersion"] == "pipelines.kubeflow.org/v2beta1"
    assert version["metadata"] == {"name": "segmentation-0-1-0"}
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "segmentation"
    json_format.ParseDict(version["spec"]["platformSpec"], pipeline_spec_pb2.PlatformSpec())
    assert version["spec"]["pipelineSpec"] == load_pipeline(SEGMENTATION_YAML)


@pytest.mark.parametrize("committed", [SEGMENTATION_YAML, SWEEP_YAML])
def test_with_a_registry_the_images_alone_have_other_defaults(committed):
    bare = pipeline_parameters(committed)
    with with_registry(committed, "registry.example/vision") as path:
        given = pipeline_parameters(path)
    changed = {name: item.default for name, item in given.items() if item != bare[name]}
    assert changed == {
        "data_image": "registry.example/vision/segmentor-data:0.1.0",
        "trainer_image": "registry.example/vision/segmentor-trainer:0.1.0",
        "predictor_image": "registry.example/vision/segmentor-predictor:0.1.0",
    }


def test_labelling_has_the_registry_for_its_one_image():
    with with_registry(LABELLING_YAML, "registry.example/vision") as path:
        parameters = pipeline_parameters(path)
    assert parameters["data_image"].default == "registry.example/vision/segmentor-data:0.1.0"
    assert [name for name in parameters if name.endswith("_image")] == ["data_image"]


def test_manifests_have_the_registry_too(tmp_path):
    path = compile_manifest(
        SEGMENTATION_YAML, tmp_path / "manifest.yaml", "segmentation-1", "localhost:5000"
    )
    _pipeline, version = yaml.safe_load_all(path.read_text())
    parameters = version["spec"]["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]
    assert parameters["data_image"]["defaultValue"] == "localhost:5000/segmentor-data:0.1.0"


def test_a_registry_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--registry: 'https://r.example', expected a registry"):
        compile_pipeline(SEGMENTATION_YAML, tmp_path / "segmentation.yaml", "https://r.example")
    assert not list(tmp_path.iterdir())
