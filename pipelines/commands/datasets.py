"""Commands on a data set artifact: what is in it, and as folders."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command

Folder = Annotated[
    Path,
    typer.Argument(
        help="A data set artifact, a folder with train, val and test, or a run's.",
        metavar="DATASET",
    ),
]


@command
def info(dataset: Folder) -> None:
    """Print samples, groups, classes and where they are from."""
    from pipelines.dataset_files import describe

    for line in describe(dataset):
        typer.echo(line)


@command
def unpack(
    dataset: Folder,
    output: Annotated[Path, typer.Option(help="A new folder for images and masks.")],
) -> None:
    """Write images and index masks as plain files."""
    from pipelines.dataset_files import unpack as write_files

    count = write_files(dataset, output)
    typer.echo(f"{count} samples in {output}")


@command
def view(
    dataset: Folder,
    output: Annotated[Path, typer.Option(help="The HTML page to write.")] = Path("dataset.html"),
) -> None:
    """Write a page to look through images and masks, by class, split and problem."""
    from pipelines.dataset_view import write_view

    count = write_view(dataset, output)
    typer.echo(f"{count} samples in {output}")
