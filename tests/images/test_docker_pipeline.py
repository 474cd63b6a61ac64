"""The whole pipeline in the real images: the same results as on the host, and honest failures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_export import GROUP_PATTERN, write_small_export

from components.container_images import TRAINER
from segmentor.run_record import RunRecord

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

DATASETS = (("convert_labels", "dataset"), ("split", "train"), ("split", "val"), ("split", "test"))
STORE = ("S3_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    return write_small_export(tmp_path_factory.mktemp("export") / "task.zip")


@pytest.fixture(scope="module")
def run_segmentor(engine, export):
    """Run the command as a person does, with the store that it embeds; return what it said."""
    revision = engine.api.inspect_image(TRAINER)["Config"]["Labels"][
        "org.opencontainers.image.revision"
    ]

    def run(runner: str, folder: Path, **parameters) -> subprocess.CompletedProcess[str]:
        given = {"group_pattern": GROUP_PATTERN, "model_name": "road", "min_iou": 0.0, **parameters}
        command = [
            *(sys.executable, "-m", "pipelines.cli", "run", "--runner", runner),
            *("--export", str(export), "--output", str(folder)),
            *(f"--param={name}={value}" for name, value in given.items()),
            *("training.epochs=2", "processing.size=[64,96]"),
        ]
        environment = {name: value for name, value in os.environ.items() if name not in STORE}
        # The image knows its own; it is part of a checkpoint's provenance.
        environment |= {"OMP_NUM_THREADS": "2", "SEGMENTOR_GIT_REVISION": revision}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=900
        )

    return run


@pytest.fixture(scope="module")
def runs(run_segmentor, tmp_path_factory) -> dict[str, RunRecord]:
    records = {}
    for runner in ("host", "docker"):
        folder = tmp_path_factory.mktemp(runner) / "run"
        result = run_segmentor(runner, folder)
        assert result.returncode == 0, result.stderr
        records[runner] = RunRecord.read(folder)
    return records


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


def test_each_run_was_of_its_kind(runs):
    """Else equal results would prove nothing."""
    assert {name: record.runner for name, record in runs.items()} == {
        "host": "host",
        "docker": "docker",
    }


def test_a_failing_step_fails_the_command(run_segmentor, tmp_path):
    result = run_segmentor("docker", tmp_path / "run", group_pattern=r"^(no such name)$")
    assert result.returncode == 3
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    record = RunRecord.read(tmp_path / "run")
    assert record.state == "failed"
    assert [step.name for step in record.steps if step.state == "failed"] == ["convert_labels"]
