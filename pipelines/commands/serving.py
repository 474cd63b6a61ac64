"""Commands around the predictor: start it, ask it, and a page for people."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command

DEFAULT_URL = "http://127.0.0.1:8080"
Url = Annotated[str, typer.Option(help="Address of the predictor.")]


@command
def serve(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A run's folder, a folder with model.onnx, or an s3:// URI.")
    ],
    name: Annotated[str, typer.Option(help="The model's name in URLs.")] = "segmentation",
    port: Annotated[int, typer.Option(help="HTTP port.")] = 8080,
) -> None:
    """Serve a model by the KServe predictor until Ctrl-C.

    Further flags go to the server, such as --max_queue 8 (`python -m serving --help`).
    """
    from pipelines.finished_run import model_location
    from serving.__main__ import main

    location = model_location(model)
    arguments = ["--model_name", name, "--model_dir", location, "--http_port", str(port)]
    raise typer.Exit(main([*arguments, *context.args]))


@command
def predict(
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    url: Url = DEFAULT_URL,
    model: Annotated[str, typer.Option(help="Its name; needed when the server has several.")] = "",
    output: Annotated[Path, typer.Option(help="Folder of the masks and overlays.")] = Path(
        "predictions"
    ),
) -> None:
    """Send images to a predictor; write masks and overlays."""
    from pipelines.image_files import find_images
    from pipelines.predict_client import Predictor, predict_files

    find_images(source)  # a wrong path is said before the server is asked
    with Predictor(url, model) as predictor:
        for predicted in predict_files(predictor, source, output):
            typer.echo(
                f"{predicted.image}  {', '.join(map(str, predicted.files))}  "
                f"{1000 * predicted.seconds:.0f} ms"
            )


@command
def ui(
    url: Url = DEFAULT_URL,
    model: Annotated[str, typer.Option(help="Its name; needed when the server has several.")] = "",
    images: Annotated[Path | None, typer.Option(help="A folder of images to pick from.")] = None,
    port: Annotated[int, typer.Option(help="Of the page, on loopback.")] = 8501,
) -> None:
    """Open a page for people: pick an image, see its mask.

    Needs a running predictor (`segmentor serve`).
    """
    from pipelines.image_files import find_images
    from pipelines.predict_client import Predictor
    from pipelines.predictor_page import serve_page

    with Predictor(url, model) as predictor:  # a predictor that is away is said here
        name = predictor.model
    if images is not None:
        find_images(images)
    raise typer.Exit(serve_page(url, name, images, port))
