"""The page of a deployment, and the log of one that failed."""

import os
import re
import subprocess
import sys
import uuid
from dataclasses import replace

import pytest
from builders import ROAD, scenes, write_dataset

from components.deploy.deployment import deploy
from components.deploy.kserve.waiting import Patience
from segmentor.errors import DeployError
from tests.components.deploy.deploy_builders import CHECKPOINT, write_inputs

INTERVALS = {
    "iou": [0.9012, 0.9434],
    "mean_iou": [0.91, 0.96],
    "classes": {"background": [0.95, 0.98], "road": [None, None]},
}
CLASSES = [
    {"name": "background", "iou": 0.97, "support": 9000},
    {"name": "road", "iou": 0.93, "support": 900},
]


@pytest.fixture
def run_step(store_environment, repository):
    """Run the step as the container does; returns the exit code and its log."""

    def run(*flags: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, "-m", "components.deploy", *flags, "--model-name", "road"],
            cwd=repository,
            env={**os.environ, **store_environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr.strip().splitlines()

    return run


@pytest.fixture
def bucket():
    return f"s3://models-{uuid.uuid4().hex[:12]}"


def test_the_page_of_a_model_that_is_not_applied(run_step, bucket, tmp_path):
    write_dataset(tmp_path / "test", scenes(5), ROAD)
    evaluation = {"evaluation": {"intervals": INTERVALS, "classes": CLASSES}}
    flags = [*write_inputs(tmp_path, **evaluation), "--test", str(tmp_path / "test")]
    code, log = run_step(*flags, "--destination", bucket, "--version", "v1")
    assert code == 0, log
    page = (tmp_path / "deployment_report").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "|", page)
    assert re.search(r"IoU \(data set\)\|+0\.9300\|+0\.9012 to 0\.9434", text)
    assert re.search(r"IoU of road\|+0\.9300\|+n/a", text)
    assert re.search(r"\|iou\|+0\.93\|+&gt;= 0\.5\|+yes", text)
    assert "8 of 8" in text
    assert f"published|{bucket}/road/v1/" in re.sub(r"\|+", "|", text)
    assert "not applied" in text
    assert "http://localhost:8081/v1/models/road:predict" in text
    assert "--namespace segmentor service/road-predictor 8081:80" in text
    assert page.count("data:image/jpeg;base64,") == 5
    # Digests are cut, so that the table fits.
    assert CHECKPOINT not in page
    assert CHECKPOINT[:19] in page


def test_the_log_of_a_refused_model_ends_with_the_table_and_the_figures(run_step, bucket, tmp_path):
    flags = write_inputs(tmp_path, evaluation={"dataset": {"iou": 0.42}})
    code, log = run_step(*flags, "--destination", bucket, "--min-iou", "0.9")
    assert code == 3
    assert log[-1].startswith("error: gate: 1 of 8 checks failed: iou 0.42 (required >= 0.9)")
    table = [line.split(" gate ", 1)[1] for line in log[-9:-1]]
    words = [line.split(maxsplit=1)[0] for line in table]
    assert sorted(words) == ["REFUSED", *["passed"] * 7]
    (refused,) = [line for line in table if line.startswith("REFUSED")]
    assert refused.split() == ["REFUSED", "iou", "0.42", "required", ">=", "0.9"]
    assert len({line.index("required") for line in table}) == 1, "the columns are aligned"
    assert not (tmp_path / "deployment_report").exists()


def test_the_log_of_a_deployment_that_fails_later_ends_with_the_table_too(
    api_server, plan, tmp_path, caplog
):
    caplog.set_level("INFO")
    # Sooner than any pod starts.
    patience = Patience(deadline=0.01, poll=0.005, failure=60)
    late = replace(plan, rollout=replace(plan.rollout, patience=patience))
    write_inputs(tmp_path)
    folders = [tmp_path / name for name in ("model", "evaluation", "parity.json", "out", "page")]
    with pytest.raises(DeployError, match="not ready after"):
        deploy(*folders, late)
    assert [line.startswith("gate passed ") for line in caplog.messages[-9:]] == [
        False,
        *[True] * 8,
    ]
