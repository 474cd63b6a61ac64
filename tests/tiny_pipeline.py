"""A pipeline of three quick steps whose commands are real, to try the runners on."""

from pathlib import Path

from kfp import compiler, dsl
from kfp.dsl.graph_component import GraphComponent

IMAGE = "segmentor-data:0.1.0"

# Each takes KFP's ExecutorInput first, as the real steps do.
PRODUCE = """
import sys
from pathlib import Path
from components.executor_output import write_executor_output
executor_input, text, dataset, report = sys.argv[1:]
Path(dataset).mkdir(parents=True)
(Path(dataset) / "text.txt").write_text(text)
Path(report).write_text(f"<!doctype html><title>Report</title>{text}")
print("produced", flush=True)
write_executor_output(executor_input, {"dataset": {"letters": len(text)}})
"""
CONSUME = """
import os, sys
from pathlib import Path
from components.executor_output import write_executor_output
executor_input, dataset, metrics, ending = sys.argv[1:]
text = (Path(dataset) / "text.txt").read_text()
exec(ending)
Path(metrics).write_text("{}")
write_executor_output(executor_input, {"metrics": {"iou": 0.75}})
"""


@dsl.container_component
def produce(dataset: dsl.Output[dsl.Dataset], report: dsl.Output[dsl.HTML], text: str):
    """Writes a text."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-c", PRODUCE],
        args=[
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            text,
            dataset.path,
            report.path,
        ],
    )


@dsl.container_component
def consume(dataset: dsl.Input[dsl.Dataset], metrics: dsl.Output[dsl.Metrics], ending: str):
    """Reads a text, and ends as told."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-c", CONSUME],
        args=[
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            dataset.path,
            metrics.path,
            ending,
        ],
    )


@dsl.container_component
def idle(dataset: dsl.Input[dsl.Dataset], finished: dsl.OutputPath(str)):
    """Depends on nothing that fails, and comes last."""
    return dsl.ContainerSpec(
        image=IMAGE, command=["sh", "-c", 'echo yes > "$1"'], args=["sh", finished]
    )


@dsl.container_component
def look(wish: str):
    """Has no outputs."""
    return dsl.ContainerSpec(image=IMAGE, command=["test", "-n"], args=[wish])


@dsl.pipeline(name="tiny")
def tiny(source: str = "", text: str = "hello", ending: str = "", seed: int = 0, flag: bool = True):
    """Writes a text, reads it.

    Args:
        source: A path.
        text: What is written.
        ending: Python that the second step runs.
        seed: A whole number.
        flag: A switch.
    """
    produced = produce(text=text)
    consumed = consume(dataset=produced.outputs["dataset"], ending=ending)
    idle(dataset=produced.outputs["dataset"]).after(consumed)


@dsl.pipeline(name="looking")
def looking(wish: str = "a wish", ending: str = ""):
    """Looks before it writes.

    Args:
        wish: Not empty.
        ending: Python that the last step runs.
    """
    produced = produce(text="hello").after(look(wish=wish))
    consume(dataset=produced.outputs["dataset"], ending=ending)


def compile_tiny(folder: Path, pipeline: GraphComponent = tiny) -> Path:
    """Compiles a pipeline into a folder."""
    path = folder / f"{pipeline.name}.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return path
