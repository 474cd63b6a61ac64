"""Commands for Kubeflow Pipelines: compile and submit."""

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

    With --kubernetes, each one also as Pipeline and PipelineVersion, for a KFP that keeps its
    pipelines in Kubernetes.
    """
    from pipelines.compilation import FOLDER, compile_manifest, compile_segmentation, compile_sweep

    if registry and not output:
        raise ConfigError("--registry", "no --output", "a folder: the committed files name none")
    folder = output or FOLDER
    compiled = [
        compile_segmentation(folder / "segmentation.yaml", registry),
        compile_sweep(folder / "sweep.yaml", registry),
    ]
    for path in compiled:
        typer.echo(path)
    if kubernetes:
        from pipelines.segmentation import segmentation
        from pipelines.submission import version_name
        from pipelines.sweep import sweep

        for pipeline, path in zip((segmentation, sweep), compiled, strict=True):
            manifest = path.with_name(f"{path.stem}.kubernetes.yaml")
            typer.echo(compile_manifest(pipeline, manifest, version_name(path), registry=registry))


@command
def submit(
    export: Annotated[str, typer.Option(help="URI of the CVAT export: s3://bucket/key.")],
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
    from pipelines.compilation import with_registry
    from pipelines.run_command import parameters_for
    from pipelines.submission import submit as submit_run

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
