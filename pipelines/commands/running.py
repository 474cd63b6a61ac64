"""Commands that run: the demo, the pipeline, a training, the object store."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command
from pipelines.commands.pipeline_option import Parameters, Pipeline, PipelineName


class Runner(StrEnum):
    """What executes the steps of a run."""

    HOST = "host"
    DOCKER = "docker"


RunFolder = Annotated[
    Path | None,
    typer.Option("--output", help="Folder of the run; outputs/<DATE>/<TIME> when left out."),
]


@command
def demo(output: RunFolder = None) -> None:
    """Run everything on drawn road scenes, to a prediction.

    Draws a CVAT export, uploads it to an embedded object store, runs the pipeline, serves the model
    that it published, and predicts a held-out image over HTTP.
    """
    from pipelines.demo.demo import run_demo
    from pipelines.run_folder import new_run_folder

    run_demo(output or new_run_folder())


@command
def run(
    export: Annotated[
        str, typer.Option(help="The CVAT export: a zip or a folder; a path or an s3:// URI.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides of training, such as training.epochs=40."),
    ] = None,
    param: Parameters = None,
    pipeline: Pipeline = PipelineName.SEGMENTATION,
    runner: Annotated[
        Runner, typer.Option(help="Processes of this environment, or the container images.")
    ] = Runner.HOST,
    output: RunFolder = None,
) -> None:
    """Run the pipeline on an export, on this machine.

    Models are published to the object store that S3_ENDPOINT names; without one, an embedded store
    runs meanwhile, and its data stay in the run folder.
    """
    from pipelines.run_command import run_export
    from pipelines.run_folder import new_run_folder

    run_export(
        export,
        overrides or [],
        param or [],
        runner.value,
        output or new_run_folder(),
        pipeline.path,
    )


@command
def train(context: typer.Context) -> None:
    """Run the train step alone; its own flags and overrides."""
    from components.train.__main__ import main

    raise typer.Exit(main(context.args, program="segmentor train"))


@command
def store(
    folder: Annotated[Path, typer.Option(help="Where its data are kept.")] = Path("outputs/store"),
    port: Annotated[
        int | None, typer.Option(help="Port of the S3 endpoint; a free one when left out.")
    ] = None,
) -> None:
    """Run the embedded object store until Ctrl-C.

    It is SeaweedFS, an S3 server, on loopback. Prints the variables that clients need, to paste
    into another shell.
    """
    from pipelines.store import serve_store

    serve_store(folder, port)
