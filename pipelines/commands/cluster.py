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


@command
def submit(
    export: Annotated[str, typer.Option(help="URI of the CVAT export: s3://bucket/key.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides of training, such as training.epochs=40."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="A pipeline parameter, name=value; may be repeated."),
    ] = None,
    endpoint: Annotated[
        str, typer.Option(help="URL of Kubeflow Pipelines; else what the environment names.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="Of the user, where KFP has several.")] = "",
    experiment: Annotated[str, typer.Option(help="Made unless it is there.")] = "segmentation",
    run_name: Annotated[str, typer.Option(help="One is made when left out.")] = "",
    service_account: Annotated[str, typer.Option(help="Of the run's pods; else KFP's own.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
) -> None:
    """Run the pipeline on a Kubeflow Pipelines cluster.

    Uploads the pipeline and its version unless they are there, starts a run, and prints the link
    to its page. Credentials come from the environment, as the kfp client has it.
    """
    from pipelines.run_command import parameters_for
    from pipelines.submission import submit as submit_run

    submission = submit_run(
        parameters_for(export, overrides or [], param or []),
        endpoint=endpoint,
        namespace=namespace,
        experiment=experiment,
        run_name=run_name,
        service_account=service_account,
        wait=wait,
    )
    typer.echo(submission.link)
