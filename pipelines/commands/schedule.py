"""Commands for recurring runs on Kubeflow Pipelines."""

from typing import Annotated

import typer

from pipelines.commands.door import command
from pipelines.commands.pipeline_option import Parameters, Pipeline, PipelineName

Name = Annotated[str, typer.Argument(help="The schedule's name.")]
Endpoint = Annotated[
    str, typer.Option(help="URL of Kubeflow Pipelines; default: from the environment.")
]
Namespace = Annotated[str, typer.Option(help="Your namespace, if KFP has several users.")]


@command
def create(
    name: Name,
    cron: Annotated[
        str, typer.Option(help="When: minute, hour, day, month, weekday ('0 3 * * *'), in UTC.")
    ],
    export: Annotated[str, typer.Option(help="The CVAT export: s3://bucket/key or cvat://...")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides of training, such as training.epochs=40."),
    ] = None,
    param: Parameters = None,
    pipeline: Pipeline = PipelineName.SEGMENTATION,
    registry: Annotated[str, typer.Option(help="Where your images are.")] = "",
    endpoint: Endpoint = "",
    namespace: Namespace = "",
    experiment: Annotated[str, typer.Option(help="Created if it does not exist.")] = "segmentation",
    service_account: Annotated[
        str, typer.Option(help="Service account of the runs; else KFP's.")
    ] = "",
) -> None:
    """Run the pipeline by a schedule, one run at a time.

    A run whose source has not changed takes data set and training from KFP's cache.
    """
    from pipelines.cluster.schedules import create_schedule
    from pipelines.compilation import with_registry
    from pipelines.dvc.source import resolve_source
    from pipelines.local.command import parameters_for

    parameters = parameters_for(resolve_source(export), overrides or [], param or [], pipeline.path)
    with with_registry(pipeline.path, registry) as path:
        schedule = create_schedule(
            name,
            cron,
            parameters,
            pipeline=path,
            endpoint=endpoint,
            namespace=namespace,
            experiment=experiment,
            service_account=service_account,
        )
    typer.echo(f"{schedule.name}  {schedule.cron}  {schedule.id}")


@command
def list_all(endpoint: Endpoint = "", namespace: Namespace = "") -> None:
    """List the schedules."""
    from pipelines.cluster.schedules import list_schedules
    from segmentor.text_table import text_table

    schedules = list_schedules(endpoint, namespace)
    rows = [
        (item.name, "enabled" if item.is_enabled else "paused", item.cron) for item in schedules
    ]
    for line in text_table(("name", "state", "cron"), rows):
        typer.echo(line)


@command
def pause(name: Name, endpoint: Endpoint = "", namespace: Namespace = "") -> None:
    """Start no more runs of a schedule."""
    from pipelines.cluster.schedules import pause_schedule

    pause_schedule(name, endpoint=endpoint, namespace=namespace)


@command
def resume(name: Name, endpoint: Endpoint = "", namespace: Namespace = "") -> None:
    """Start runs of a schedule again."""
    from pipelines.cluster.schedules import resume_schedule

    resume_schedule(name, endpoint=endpoint, namespace=namespace)


@command
def delete(name: Name, endpoint: Endpoint = "", namespace: Namespace = "") -> None:
    """Delete a schedule; its runs stay."""
    from pipelines.cluster.schedules import delete_schedule

    delete_schedule(name, endpoint=endpoint, namespace=namespace)
