"""Both pipelines run by the cluster's rules, each task in a file system of its own."""

import json

import pytest
import yaml
from launcher_emulator import Cluster
from pod_emulator import Pods, TaskFailedError
from small_export import GROUP_PATTERN, write_small_export

from pipelines.compilation import SEGMENTATION_YAML, SWEEP_YAML
from segmentor.object_store import ObjectUri


@pytest.fixture
def cluster_of(tmp_path, repository, store, store_environment):
    """Makes a cluster for a compiled pipeline; its secret has the embedded store's credentials."""

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
def test_the_summary_is_written_when_the_first_step_fails(cluster_of, store, path):
    cluster = cluster_of(path)
    with pytest.raises(TaskFailedError, match="convert-labels: exit code 3"):
        cluster.run({"source": "s3://datasets/there/is/none.zip"})
    assert set(cluster.pods.logs) == {"check-deployment", "convert-labels", "summarise"}
    page = cluster.artifact("summarise", "summary").read_text()
    assert "The run ended as FAILED." in page
    assert "s3://datasets/there/is/none.zip" in page


@pytest.mark.parametrize("path", [SEGMENTATION_YAML, SWEEP_YAML], ids=lambda path: path.stem)
def test_what_deploy_would_refuse_is_refused_before_anything_runs(cluster_of, path):
    cluster = cluster_of(path)
    with pytest.raises(TaskFailedError, match="check-deployment: exit code 3"):
        cluster.run({"source": "s3://datasets/task.zip", "model_name": "Road Scenes"})
    assert set(cluster.pods.logs) == {"check-deployment", "summarise"}
    assert "--name: 'Road Scenes', expected a name" in cluster.pods.logs["check-deployment"]


def _check_published(cluster: Cluster, store, environment, name: str) -> None:
    text = (cluster.artifact("deploy", "deployment") / "deployment.json").read_text()
    version = json.loads(text)["version"]
    model = cluster.artifact("export", "model") / "model.onnx"
    published = ObjectUri.parse(f"s3://models/{name}/{version}/model.onnx")
    assert store.read(published) == model.read_bytes()
    assert "Every step is done." in cluster.artifact("summarise", "summary").read_text()
    for log in cluster.pods.logs.values():
        assert environment["AWS_SECRET_ACCESS_KEY"] not in log


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pipeline_runs_to_a_published_model(cluster_of, source, store, store_environment):
    cluster = cluster_of(SEGMENTATION_YAML)
    cluster.run(
        {
            "source": source,
            "group_pattern": GROUP_PATTERN,
            "train_overrides": "training.epochs=1 processing.size=[64,96]",
            "min_iou": 0.0,
            "model_name": "emulated",
        }
    )
    _check_published(cluster, store, store_environment, "emulated")


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
        for task in ("for-loop-2[0]/train", "for-loop-2[1]/train", "choose")
    ]
    assert weights[0] != weights[1] == weights[2]
    _check_published(cluster, store, store_environment, "emulated-sweep")
