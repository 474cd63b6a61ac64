"""The pipelines run by the cluster's rules, each task in a file system of its own."""

import json
import uuid

import pytest
import yaml
from red_model import write_red_model
from small_export import GROUP_PATTERN, small_scenes, write_small_export

from pipelines.compilation import PREDICT_BATCH_YAML, SEGMENTATION_YAML, SWEEP_YAML
from pipelines.demo.cvat_export import write_cvat_export
from segmentor.model import LocalModel
from segmentor.object_uri import ObjectUri
from tests.components.predict_batch.bulk_builders import check_law, upload_images
from tests.emulators.launcher_emulator import Cluster
from tests.emulators.pod_emulator import Pods, TaskFailedError


@pytest.fixture
def cluster_of(tmp_path, repository, store, store_environment):
    """Make a cluster for a compiled pipeline; its secret has the embedded store's credentials."""

    def make(path) -> Cluster:
        specification, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        secrets = {"segmentor-object-store": store_environment}
        return Cluster(Pods(tmp_path / "cluster", specification, platform, secrets, repository))

    return make


@pytest.fixture
def source(tmp_path, store) -> str:
    write_small_export(tmp_path / "task.zip")
    store.ensure_bucket("datasets")
    store.upload_file(tmp_path / "task.zip", ObjectUri.parse("s3://datasets/emulated/task.zip"))
    return "s3://datasets/emulated/task.zip"


@pytest.mark.parametrize("path", [SEGMENTATION_YAML, SWEEP_YAML], ids=lambda path: path.stem)
def test_nothing_runs_after_a_step_that_failed(cluster_of, store, path):
    cluster = cluster_of(path)
    store.ensure_bucket("datasets")
    store.write(ObjectUri.parse("s3://datasets/there/is/rubbish.zip"), b"no export")
    with pytest.raises(TaskFailedError, match="convert-labels: exit code 3"):
        cluster.run({"source": "s3://datasets/there/is/rubbish.zip"})
    assert set(cluster.pods.logs) == {"check-deployment", "convert-labels"}
    assert "s3://datasets/there/is/rubbish.zip" in cluster.pods.logs["convert-labels"]


@pytest.mark.parametrize("path", [SEGMENTATION_YAML, SWEEP_YAML], ids=lambda path: path.stem)
def test_a_source_that_is_not_there_is_found_by_the_first_step(cluster_of, store, path):
    cluster = cluster_of(path)
    with pytest.raises(TaskFailedError, match="check-deployment: exit code 3"):
        cluster.run({"source": "s3://datasets/there/is/none.zip"})
    assert set(cluster.pods.logs) == {"check-deployment"}
    assert "s3://datasets/there/is/none.zip" in cluster.pods.logs["check-deployment"]


@pytest.mark.parametrize("path", [SEGMENTATION_YAML, SWEEP_YAML], ids=lambda path: path.stem)
def test_what_deploy_would_refuse_is_refused_before_anything_runs(cluster_of, path):
    cluster = cluster_of(path)
    with pytest.raises(TaskFailedError, match="check-deployment: exit code 3"):
        cluster.run({"source": "s3://datasets/task.zip", "model_name": "Road Scenes"})
    assert set(cluster.pods.logs) == {"check-deployment"}
    assert "--model-name: 'Road Scenes', expected a name" in cluster.pods.logs["check-deployment"]


def _check_published(cluster: Cluster, store, environment, name: str) -> None:
    text = (cluster.artifact("deploy", "deployment") / "deployment.json").read_text()
    version = json.loads(text)["version"]
    model = cluster.artifact("export", "model") / "model.onnx"
    published = ObjectUri.parse(f"s3://models/{name}/{version}/model.onnx")
    assert store.read(published) == model.read_bytes()
    for log in cluster.pods.logs.values():
        assert environment["AWS_SECRET_ACCESS_KEY"] not in log


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pipeline_publishes_a_model_and_trains_again_only_when_the_source_has_changed(
    cluster_of, source, store, store_environment, tmp_path
):
    values = {
        "source": source,
        "group_pattern": GROUP_PATTERN,
        "train_overrides": "training.epochs=1 processing.size=[64,96]",
        "min_iou": 0.0,
        "model_name": "emulated",
    }
    cluster = cluster_of(SEGMENTATION_YAML)
    cluster.run(values)
    _check_published(cluster, store, store_environment, "emulated")

    again = Cluster(cluster.pods.next_run("run-2"))
    again.run(values)
    assert set(again.pods.logs) == {"check-deployment", "deploy"}
    _check_published(again, store, store_environment, "emulated")
    assert again.outputs["export"] == cluster.outputs["export"]

    write_cvat_export(list(small_scenes())[2:], tmp_path / "changed.zip")
    store.upload_file(tmp_path / "changed.zip", ObjectUri.parse(source))
    changed = Cluster(cluster.pods.next_run("run-3"))
    changed.run(values)
    assert set(changed.pods.logs) == set(cluster.pods.logs)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_sweep_collects_its_trainings_and_deploys_the_better(
    cluster_of, source, store, store_environment
):
    cluster = cluster_of(SWEEP_YAML)
    short = "processing.size=[64,96] model=tiny"
    cluster.run(
        {
            "source": source,
            "group_pattern": GROUP_PATTERN,
            "override_sets": [
                f"{short} training.epochs=1 training.learning_rate=0.0000001",
                f"{short} training.epochs=3",
            ],
            "min_iou": 0.0,
            "model_name": "emulated-sweep",
        }
    )
    weights = [
        (cluster.artifact(task, "checkpoint") / "weights.safetensors").read_bytes()
        for task in ("for-loop-1[0]/train", "for-loop-1[1]/train", "choose")
    ]
    assert weights[0] != weights[1] == weights[2]
    _check_published(cluster, store, store_environment, "emulated-sweep")


def test_prediction_in_bulk_runs_by_the_cluster_s_rules(cluster_of, store, tmp_path):
    bucket = ObjectUri(f"bulk-{uuid.uuid4().hex[:12]}", "")
    images = upload_images(store, bucket.child("images"), 12)
    model = write_red_model(tmp_path / "model")
    store.upload_folder(model, bucket.child("model"))
    values = {
        "batch_images": str(bucket.child("images")),
        "published_model": str(bucket.child("model")),
        "predictions": str(bucket.child("predictions")),
        "mask_files": "tar",
    }
    cluster = cluster_of(PREDICT_BATCH_YAML)
    cluster.run(values)
    check_law(store, bucket.child("predictions"), images, LocalModel(model))
