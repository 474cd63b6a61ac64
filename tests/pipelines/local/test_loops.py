"""ParallelFor and Collected in a local run, with the real choose step behind them."""

import io
import json
import os

import pytest
from kfp import compiler, dsl
from small_export import GROUP_PATTERN, write_small_export

from components.choose.component import choose
from pipelines.compilation import SWEEP_YAML
from pipelines.local.run import RunFailedError, run_local
from segmentor.contract import InputSpec, ModelContract
from segmentor.label_map import LabelMap

TRAIN = """
import json, sys
from pathlib import Path
from components.executor_output import write_executor_output
executor_input, contract, value, checkpoint = sys.argv[1:]
if value == "fail":
    sys.exit("error: value: found fail, expected a number")
folder = Path(checkpoint)
folder.mkdir()
content = json.loads(contract)
content["provenance"] = {"val_iou": float(value)}
(folder / "contract.json").write_text(json.dumps(content))
(folder / "config.yaml").write_text("model: {}")
write_executor_output(executor_input, {})
"""
CONTRACT = json.dumps(
    ModelContract(LabelMap.of(["background", "road"]), InputSpec((64, 96))).to_json()
)


@dsl.container_component
def train(checkpoint: dsl.Output[dsl.Model], value: str):
    """Writes a checkpoint that claims a value."""
    return dsl.ContainerSpec(
        image="segmentor-trainer:0.1.0",
        command=["python", "-c", TRAIN],
        args=[dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER, CONTRACT, value, checkpoint.path],
    )


@dsl.pipeline(name="tiny-sweep")
def tiny_sweep(values: list[str]):
    """Trains in a loop and chooses."""
    with dsl.ParallelFor(values) as value:
        trained = train(value=value)
    choose(checkpoints=dsl.Collected(trained.outputs["checkpoint"]), metric="val_iou")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
    compiler.Compiler().compile(tiny_sweep, str(path))
    return path


def test_each_iteration_has_its_own_artifacts_and_the_best_goes_on(pipeline, tmp_path):
    values = {"values": ["0.5", "0.9", "0.7"]}
    record = run_local("host", values, tmp_path / "run", pipeline=pipeline, stream=io.StringIO())
    assert [step.name for step in record.steps] == [
        "for-loop-1-iteration-0/train",
        "for-loop-1-iteration-1/train",
        "for-loop-1-iteration-2/train",
        "choose",
    ]
    best = record.artifact("for-loop-1-iteration-1/train", "checkpoint")
    chosen = record.artifact("choose", "checkpoint")
    assert (chosen / "contract.json").read_text() == (best / "contract.json").read_text()
    assert record.artifact_record("choose", "checkpoint").metadata["chosen_index"] == 1


def test_a_training_that_fails_fails_the_run_in_its_own_words(pipeline, tmp_path):
    values = {"values": ["0.5", "fail"]}
    with pytest.raises(RunFailedError, match="iteration-1/train: value: found fail"):
        run_local("host", values, tmp_path / "run", pipeline=pipeline, stream=io.StringIO())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_sweep_carries_the_better_training_on_to_a_published_model(tmp_path, store_environment):
    short = "processing.size=[64,96] model=tiny"
    values = {
        "source": str(write_small_export(tmp_path / "export.zip")),
        "group_pattern": GROUP_PATTERN,
        "override_sets": [
            f"{short} training.epochs=1 training.learning_rate=0.0000001",
            f"{short} training.epochs=3",
        ],
        "min_iou": 0.0,
        "model_name": "swept",
    }
    record = run_local(
        "host",
        values,
        tmp_path / "run",
        pipeline=SWEEP_YAML,
        environment={**os.environ, **store_environment},
        stream=io.StringIO(),
    )
    measured = [
        record.artifact_record(f"for-loop-1-iteration-{index}/train", "checkpoint").metadata
        for index in range(2)
    ]
    chosen = record.artifact_record("choose", "checkpoint").metadata
    assert chosen["chosen_index"] == 1
    assert chosen["val_iou"] == measured[1]["val_iou"] > measured[0]["val_iou"]
    page = (record.folder / "index.html").read_text()
    assert "reports/for-loop-1-iteration-0-training_report.html" in page
    assert record.artifact_record("deploy", "deployment").metadata["name"] == "swept"
