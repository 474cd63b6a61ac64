"""Commands for Kubeflow Pipelines: compile and submit."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command


@command
def compile_pipelines(
    output: Annotated[
        Path | None, typer.Option(help="The YAML file; pipelines/segmentation.yaml by default.")
    ] = None,
) -> None:
    """Compile the pipeline to the YAML that KFP reads."""
    from pipelines.compilation import SEGMENTATION_YAML, compile_segmentation

    typer.echo(compile_segmentation(output or SEGMENTATION_YAML))
