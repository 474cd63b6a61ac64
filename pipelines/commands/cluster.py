"""Commands for Kubeflow Pipelines: compile, submit and wait."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command
from pipelines.commands.pipeline_option import Parameters, Pipeline, PipelineName
from segmentor.errors import ConfigError


@command
def compile_pipelines(
    output: Annotated[
        Path | None, typer.Option(help="Folder of the files; pipelines/ by default.")
    ] = None,
    registry: Annotated[
        str, typer.Option(help="Where your images are: the image parameters' defaults.")
    ] = "",
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Manifests that kubectl applies, too.")
    ] = False,
) -> None:
    """Compile the pipelines to the YAML that KFP reads.

    Without --output also writes docs/parameters.md, which lists their parameters.
    With --kubernetes, each one also as Pipeline and PipelineVersion, for a KFP that keeps its
    pipelines in Kubernetes.
    """
    from pipelines.compilation import FOLDER, PIPELINES, compile_manifest, compile_pipeline

    if registry and not output:
        raise ConfigError("--registry", "no --output", "a folder: the committed files name none")
    folder = output or FOLDER
    for committed in PIPELINES:
        typer.echo(compile_pipeline(committed, folder / committed.name, registry))
    if not output:
        from pipelines.parameter_page import write_page

        typer.echo(write_page())
    if kubernetes:
        from pipelines.cluster.submission import version_name

        for committed in PIPELINES:
            path = folder / f"{committed.stem}.kubernetes.yaml"
            version = version_name(folder / committed.name)
            typer.echo(compile_manifest(committed, path, version, registry))


@command
def submit(
    export: Annotated[
        str, typer.Option(help="The CVAT export: s3://bucket/key, or dvc:PATH@REVISION of S3.")
    ] = "",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides of training, such as training.epochs=40."),
    ] = None,
    param: Parameters = None,
    pipeline: Pipeline = PipelineName.SEGMENTATION,
    registry: Annotated[
        str, typer.Option(help="Where your images are, also for runs from the pipelines UI.")
    ] = "",
    endpoint: Annotated[
        str, typer.Option(help="URL of Kubeflow Pipelines; default: from the environment.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="Your namespace, if KFP has several users.")] = "",
    experiment: Annotated[str, typer.Option(help="Created if it does not exist.")] = "segmentation",
    run_name: Annotated[str, typer.Option(help="Default: experiment and time.")] = "",
    service_account: Annotated[
        str, typer.Option(help="Service account of the run; else KFP's.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
) -> None:
    """Run the pipeline on a Kubeflow Pipelines cluster.

    Uploads the pipeline and its version unless they are there, starts a run, and prints the link
    to its page. Credentials come from the environment, as the kfp client has it.
    """
    from pipelines.cluster.submission import submit as submit_run
    from pipelines.compilation import with_registry
    from pipelines.dvc.source import resolve_source
    from pipelines.local.command import parameters_for

    export = resolve_source(export) if export else ""
    parameters = parameters_for(export, overrides or [], param or [], pipeline.path)
    with with_registry(pipeline.path, registry) as path:
        submission = submit_run(
            parameters,
            pipeline=path,
            endpoint=endpoint,
            namespace=namespace,
            experiment=experiment,
            run_name=run_name,
            service_account=service_account,
            wait=wait,
        )
    typer.echo(submission.link)


@command
def wait(
    run: Annotated[str, typer.Argument(help="The run's id: the last part of its link.")],
    pipeline: Pipeline = PipelineName.SEGMENTATION,
    endpoint: Annotated[
        str, typer.Option(help="URL of Kubeflow Pipelines; default: from the environment.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="Your namespace, if KFP has several users.")] = "",
) -> None:
    """Wait for a run on Kubeflow Pipelines that was submitted earlier.

    Says how each step ended, why a pod does not start, and, of a run that fails, the error.
    """
    from pipelines.cluster.submission import wait_again

    state = wait_again(run, pipeline=pipeline.path, endpoint=endpoint, namespace=namespace)
    typer.echo(state)
