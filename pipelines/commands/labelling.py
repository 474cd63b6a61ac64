"""Commands around CVAT: bring labels here, and send predictions there for people to correct."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command
from segmentor.plurals import counted


@command
def pull(
    source: Annotated[
        str,
        typer.Argument(help="cvat://host/projects/7, /tasks/12 or /jobs/31, maybe with filters."),
    ],
    output: Annotated[
        str, typer.Option(help="A zip file to write, a folder to put it into, or an s3:// URI.")
    ] = ".",
) -> None:
    """Export labels and images from CVAT.

    The token is read from CVAT_ACCESS_TOKEN. Filters take some jobs only:
    cvat://host/projects/7?stage=acceptance&state=completed&subset=Train
    """
    from segmentor.cvat.address import CvatUri
    from segmentor.cvat.pull import pull_to
    from segmentor.cvat.server import CvatServer

    uri = CvatUri.parse(source)
    with CvatServer.of(uri) as server:
        state, written = pull_to(server, uri, output)
    typer.echo(
        f"{written}  {counted(len(state.jobs), 'job')} of {state.name}, changed {state.updated}"
    )


@command
def push(
    model: Annotated[
        str, typer.Argument(help="A run's folder, model.onnx, an s3:// URI, or a predictor's URL.")
    ],
    to: Annotated[str, typer.Option(help="cvat://host/tasks/12 or /jobs/31.")],
    least_pixels: Annotated[int, typer.Option(help="Leave out smaller components.", min=0)] = 64,
    most_shapes: Annotated[
        int, typer.Option(help="Send the largest components of a frame.", min=1)
    ] = 200,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="Also predict frames that a person labelled.")
    ] = False,
) -> None:
    """Send predictions to CVAT as mask shapes that people correct.

    No shape of a person is ever changed. Push again to go on after an interruption, or to replace
    the shapes of an earlier model that nobody has touched. The token is read from
    CVAT_ACCESS_TOKEN.
    """
    from segmentor.cvat.address import CvatUri
    from segmentor.cvat.push import push as push_frames
    from segmentor.cvat.server import CvatServer
    from segmentor.errors import DataError, Problem
    from segmentor.model import open_model

    uri = CvatUri.parse(to)
    opened = open_model(model)
    counts: dict[str, int] = {}
    unreadable = []
    with CvatServer.of(uri) as server:
        for frame in push_frames(server, uri, opened, least_pixels, most_shapes, all_frames):
            counts[frame.outcome] = counts.get(frame.outcome, 0) + 1
            shapes = counted(frame.shapes, "shape")
            typer.echo(f"{frame.index:6d}  {frame.name}  {frame.outcome}  {shapes}")
            if frame.reason:
                unreadable.append(Problem(frame.name, frame.reason))
    typer.echo(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no frames")
    if unreadable:
        raise DataError.collected(to, unreadable)


@command
def rank(
    model: Annotated[
        str, typer.Argument(help="A run's folder, model.onnx, an s3:// URI, or a predictor's URL.")
    ],
    images: Annotated[
        str, typer.Argument(help="What could be labelled next: a folder, or a cvat:// address.")
    ] = "",
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="What is labelled: a data set, or a run; the model's own run by default."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the report and the lists.")] = Path(
        "ranking"
    ),
    send: Annotated[
        bool, typer.Option("--send", help="Send masks and open issues in CVAT.")
    ] = False,
    most: Annotated[
        int, typer.Option(help="With --send: so many frames, and so many issues.", min=1)
    ] = 20,
) -> None:
    """Rank images to label next, and labels that are probably wrong.

    Writes report.html, images.csv and labels.csv. With --send, the first frames get the model's
    masks in CVAT, and the first labels an issue. The token is read from CVAT_ACCESS_TOKEN.
    """
    from pipelines.ranking import rank_images

    typer.echo(rank_images(model, images, dataset, output, most if send else 0))
