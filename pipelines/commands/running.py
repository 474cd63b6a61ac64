"""Commands that run: the demo, the pipeline, a training, the object store."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from components.cli import EXIT_KNOWN_ERROR
from pipelines.commands.door import command
from pipelines.commands.pipeline_option import Parameters, Pipeline, PipelineName


class Runner(StrEnum):
    """The runner of a run's steps."""

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
    from pipelines.local.folder import new_run_folder

    run_demo(output or new_run_folder())


@command
def run(
    export: Annotated[
        str,
        typer.Option(
            help="The CVAT export: a zip or a folder; a path, s3:// or dvc:PATH@REVISION."
        ),
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
    from pipelines.dvc.source import resolve_source
    from pipelines.local.command import run_export
    from pipelines.local.folder import new_run_folder

    run_export(
        resolve_source(export),
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
def doctor() -> None:
    """Show what is installed and what works here, each with a remedy.

    `off` means that something is not set up, which may be fine. The exit code is 3 if anything
    that is set up fails, else 0. No check takes more than a minute.
    """
    from pipelines.doctor.examination import examine, table
    from pipelines.doctor.finding import State
    from pipelines.doctor.installed import installed

    findings = [*installed(), *examine()]
    for line in table(findings):
        typer.echo(line)
    if any(finding.state is State.FAILS for finding in findings):
        raise typer.Exit(EXIT_KNOWN_ERROR)


@command
def store(
    folder: Annotated[Path, typer.Option(help="Folder of its data.")] = Path("outputs/store"),
    port: Annotated[
        int | None, typer.Option(help="Port of the S3 endpoint; a free one when left out.")
    ] = None,
) -> None:
    """Run the embedded object store until Ctrl-C.

    It is SeaweedFS, an S3 server, on loopback. Prints the variables that clients need, to paste
    into another shell.
    """
    from pipelines.local.embedded_store import serve_store

    serve_store(folder, port)
