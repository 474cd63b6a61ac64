"""Commands on a data set artifact: what is in it, and as folders."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command
from segmentor.plurals import counted

Folder = Annotated[
    Path,
    typer.Argument(
        help="A data set artifact, a folder with train, val and test, or a run's.",
    ),
]


@command
def info(dataset: Folder) -> None:
    """Print samples, groups, classes and where they are from."""
    from pipelines.datasets.files import describe

    for line in describe(dataset):
        typer.echo(line)


@command
def unpack(
    dataset: Folder,
    output: Annotated[Path, typer.Option(help="A new folder for images and masks.")],
) -> None:
    """Write images and index masks as plain files."""
    from pipelines.datasets.files import unpack as write_files

    count = write_files(dataset, output)
    typer.echo(f"{counted(count, 'sample')} in {output}")


@command
def view(
    dataset: Folder,
    output: Annotated[Path, typer.Option(help="The HTML page to write.")] = Path("dataset.html"),
) -> None:
    """Write a page to look through images and masks.

    It filters by class, split and problem.
    """
    from pipelines.datasets.view import write_view

    count = write_view(dataset, output)
    typer.echo(f"{counted(count, 'sample')} in {output}")


@command
def prune(
    destination: Annotated[
        str, typer.Argument(help="Where models are published (s3://models); data sets lie there.")
    ],
    older_than_days: Annotated[
        int, typer.Option(help="Delete data sets of a greater age; 0 keeps all.", min=0)
    ] = 0,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is shown.")] = False,
) -> None:
    """Show which stored data sets could be deleted; --delete deletes them.

    Shards go with the last data set that lists them.
    """
    from datetime import timedelta

    from pipelines.datasets.pruning import describe_plan
    from segmentor.dataset_pruning import plan_pruning
    from segmentor.dataset_pruning import prune as delete_planned
    from segmentor.object_store import ObjectStore

    store = ObjectStore.from_environment()
    age = timedelta(days=older_than_days) if older_than_days else None
    plan = plan_pruning(store, destination, age)
    for line in describe_plan(plan, delete):
        typer.echo(line)
    if delete:
        delete_planned(store, plan)


@command
def init(
    export: Annotated[
        str, typer.Option(help="The CVAT export: a file or folder here, or an s3:// URI.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides of training, such as training.epochs=40."),
    ] = None,
    dvc: Annotated[bool, typer.Option("--dvc", help="Write dvc.yaml and params.yaml.")] = False,
    output: Annotated[Path, typer.Option(help="Folder to write them to.")] = Path("."),
) -> None:
    """Write the pipeline as stages of DVC.

    `dvc repro` then runs what has changed, `dvc exp run -S split.seed=1` tries other parameters.
    """
    from pipelines.dvc.stages import PARAMETERS_FILE, STAGES_FILE, write_stages

    if not dvc:
        raise typer.BadParameter("nothing to write: give --dvc")
    write_stages(output, export, " ".join(overrides or []))
    typer.echo(f"{output / STAGES_FILE}, {output / PARAMETERS_FILE}; next: dvc repro")
