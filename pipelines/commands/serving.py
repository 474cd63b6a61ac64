"""Commands around the predictor: start it, ask it, and a page for people."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.door import command
from segmentor.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8080"


class MaskFiles(StrEnum):
    """How the masks of a bulk prediction are stored."""

    PNG = "png"
    TAR = "tar"


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
    from pipelines.runs.finished import model_location
    from serving.__main__ import main

    location = model_location(model)
    arguments = ["--model_name", name, "--model_dir", location, "--http_port", str(port)]
    raise typer.Exit(main([*arguments, *context.args]))


@command
def predict(
    source: Annotated[
        str,
        typer.Argument(
            help="An image, a folder of images, or s3://: a prefix, or a .txt list of images."
        ),
    ],
    url: Url = DEFAULT_URL,
    model: Annotated[
        str,
        typer.Option(
            help="Needed if the server has several models. With images of s3://: the model that "
            "predicts here, as a run's folder, model.onnx or an s3:// URI."
        ),
    ] = "",
    output: Annotated[
        str, typer.Option(help="Folder of masks and overlays; with images of s3://, a prefix.")
    ] = "predictions",
    mask_files: Annotated[
        MaskFiles, typer.Option(help="With images of s3://: a PNG an image, or archives of 128.")
    ] = MaskFiles.PNG,
) -> None:
    """Send images to a predictor; write masks and overlays.

    Images of an object store are predicted here, without a predictor: masks, and a line an image
    in predictions.jsonl. When it is interrupted, the same command goes on.

    Gateways: SEGMENTOR_PREDICTOR_TOKEN (a bearer token), SEGMENTOR_PREDICTOR_COOKIE and
    SEGMENTOR_PREDICTOR_HOST (the Host header) are sent when they are set.
    """
    from segmentor.object_uri import is_object_uri

    if is_object_uri(source):
        from pipelines.predictor.bulk import predict_objects

        for line in predict_objects(source, model, output, mask_files.value):
            typer.echo(line)
        return
    if is_object_uri(output):
        raise ConfigError("--output", output, "a folder, as the images have one", "upload them")
    from pipelines.image_files import find_images
    from pipelines.predictor.client import predict_files
    from segmentor.predictor_client import Predictor

    find_images(Path(source))  # a wrong path is said before the server is asked
    with Predictor(url, model) as predictor:
        for predicted in predict_files(predictor, Path(source), Path(output)):
            typer.echo(
                f"{predicted.image}  {', '.join(map(str, predicted.files))}  "
                f"{1000 * predicted.seconds:.0f} ms"
            )


@command
def ui(
    url: Url = DEFAULT_URL,
    model: Annotated[str, typer.Option(help="Needed if the server has several models.")] = "",
    images: Annotated[Path | None, typer.Option(help="A folder of images to pick from.")] = None,
    port: Annotated[int, typer.Option(help="Port of the page, on loopback.")] = 8501,
) -> None:
    """Open a page for people: pick an image, see its mask.

    Needs a running predictor (`segmentor serve`), and takes the variables of `predict`.
    """
    from pipelines.image_files import find_images
    from pipelines.predictor.page import require_streamlit, serve_page
    from segmentor.predictor_client import Predictor

    require_streamlit()

    with Predictor(url, model) as predictor:
        predictor.facts()  # a predictor that is away is said here
        name = predictor.model
    if images is not None:
        find_images(images)
    raise typer.Exit(serve_page(url, name, images, port))
