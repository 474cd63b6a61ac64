"""The whole pipeline in the real images: the same results as on the host, and honest failures."""

import itertools
import json
import uuid

import pytest

from components.container_images import TRAINER
from pipelines.demo.cvat_export import write_cvat_export
from pipelines.demo.scenes import draw_scenes
from pipelines.local_run import RunFailedError, run_local

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

DATASETS = (("convert_labels", "dataset"), ("split", "train"), ("split", "val"), ("split", "test"))


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "scenes.zip"
    write_cvat_export(itertools.islice(draw_scenes(), 0, None, 4), path)
    return path


def parameters(export, **changes) -> dict:
    return {
        "source": str(export),
        "classes": "road=road+lane_mark",
        "group_pattern": r"^(.+)_\d+$",
        "model_name": "road",
        "destination": f"s3://models-{uuid.uuid4().hex[:12]}",
        "train_overrides": "training.epochs=2 processing.size=[64,96]",
        "min_iou": 0.0,
        **changes,
    }


@pytest.fixture(scope="module")
def runs(engine, export, store_environment, tmp_path_factory):
    labels = engine.api.inspect_image(TRAINER)["Config"]["Labels"]
    environment = {
        **store_environment,
        "OMP_NUM_THREADS": "2",
        # The image knows its own; it is part of a checkpoint's provenance.
        "SEGMENTOR_GIT_REVISION": labels["org.opencontainers.image.revision"],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return {
            runner: run_local(runner, parameters(export), tmp_path_factory.mktemp(runner) / "run")
            for runner in ("host", "docker")
        }


def test_dataset_digests_are_identical(runs):
    for step, output in DATASETS:
        manifests = [
            json.loads((record.artifact(step, output) / "manifest.json").read_text())
            for record in runs.values()
        ]
        assert manifests[0]["digest"] == manifests[1]["digest"]


def test_evaluations_are_equal(runs):
    host, docker = (
        json.loads((record.artifact("evaluate", "evaluation") / "evaluation.json").read_text())
        for record in runs.values()
    )
    for key in ("dataset_digest", "checkpoint_digest", "dataset", "per_image", "confusion"):
        assert host[key] == docker[key], key
    tables = [
        (record.artifact("evaluate", "evaluation") / "per_image.csv").read_bytes()
        for record in runs.values()
    ]
    assert tables[0] == tables[1]


def test_the_same_model_is_published(runs):
    records = [
        json.loads((record.artifact("deploy", "deployment") / "deployment.json").read_text())
        for record in runs.values()
    ]
    assert records[0]["version"] == records[1]["version"]
    assert records[0]["model_digest"] == records[1]["model_digest"]


def test_a_failing_step_fails_the_run(engine, export, store, tmp_path):
    wrong = parameters(export, ratios="a lot,a little,none")
    with pytest.raises(RunFailedError, match="split.*a lot"):
        run_local("docker", wrong, tmp_path / "run")
    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "failed"
