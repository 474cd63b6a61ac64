"""Commands on the folder of a finished run: what the original's scripts did."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command

Run = Annotated[Path, typer.Argument(help="Folder of a finished run.")]


class SizePolicy(StrEnum):
    """The size at which an exported model runs."""

    TRAINED = "trained"
    RESIZE = "resize"
    NATIVE = "native"


@command
def evaluate(
    run: Run,
    dataset: Annotated[
        Path | None, typer.Option(help="A data set artifact; the run's own test set by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the results; <RUN>/again/evaluate by default.")
    ] = None,
) -> None:
    """Measure a run's checkpoint again.

    Prints the table image | dice_loss | iou_score, and writes the report.
    """
    from pipelines.runs.finished import evaluate_run

    raise typer.Exit(evaluate_run(run, dataset, output))


@command
def export(
    run: Run,
    size_policy: Annotated[
        SizePolicy,
        typer.Option(
            help="'trained' keeps the checkpoint's policy, 'resize' scales images to the training "
            "size, 'native' keeps their own."
        ),
    ] = SizePolicy.TRAINED,
    triton: Annotated[
        bool, typer.Option("--triton", help="Write a model repository of Triton as well.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the results; <RUN>/again/export by default.")
    ] = None,
) -> None:
    """Export a run's checkpoint again, and check its parity.

    With --triton, also writes triton/<MODEL_NAME>/config.pbtxt and its 1/model.onnx.
    """
    from pipelines.runs.finished import export_run

    raise typer.Exit(export_run(run, size_policy.value, output, triton))


@command
def infer(
    run: Run,
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    output: Annotated[Path, typer.Option(help="Folder of the masks and overlays.")] = Path(
        "predictions"
    ),
) -> None:
    """Predict images with a run's model, without a server."""
    from pipelines.runs.finished import infer_images

    for line in infer_images(run, source, output):
        typer.echo(line)


@command
def compare(
    first: Annotated[Path, typer.Argument(help="A run's folder, or an evaluation's.")],
    second: Annotated[Path, typer.Argument(help="The other run.")],
) -> None:
    """Compare two runs on the same test set.

    Paired bootstrap over groups, IoU per class, and the images that changed most.
    """
    from pipelines.runs.comparison import compare_runs

    for line in compare_runs(first, second):
        typer.echo(line)
