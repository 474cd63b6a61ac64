"""Predicts files: an image or a folder of images in, masks and overlays out."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.cli import output_file
from pipelines.image_files import predict_each
from segmentor.errors import DataError
from segmentor.output_forms import OUTPUT_FORMS
from segmentor.predictor_client import MEDIA_TYPES, Predictor


@dataclass(frozen=True)
class PredictedImage:
    """One image's results: the files written, the model's digest, and how long the mask took."""

    image: Path
    files: tuple[Path, ...]
    digest: str
    seconds: float


def predict_files(predictor: Predictor, source: Path, output: Path) -> Iterator[PredictedImage]:
    """Predict every image of a file or folder; yield as it goes.

    `a/b.jpg` becomes `a/b.mask.png` and `a/b.overlay.png` below `output`: every form that has a
    `file_suffix`.

    Raises:
        DataError: no image at `source`, or, after all others are done, images that were refused.
        PredictorError: the server is away.
    """

    def predict(image: Path, target: Path) -> PredictedImage:
        try:
            return _predict_file(predictor, image, target)
        except DataError as error:
            raise DataError(str(image), error.found) from error

    return predict_each(source, output, predict)


def _predict_file(predictor: Predictor, image: Path, target: Path) -> PredictedImage:
    content = image.read_bytes()
    media_type = MEDIA_TYPES.get(image.suffix.lower(), "application/octet-stream")
    files: list[Path] = []
    seconds, digest = 0.0, ""
    for output, form in OUTPUT_FORMS.items():
        if not form.file_suffix:
            continue
        start = time.perf_counter()
        reply = predictor.predict(content, media_type, output)
        if not files:
            seconds = time.perf_counter() - start
        digest = reply.digest
        path = target.with_suffix(form.file_suffix)
        with output_file(path) as partial:
            partial.write_bytes(reply.content)
        files.append(path)
    return PredictedImage(image, tuple(files), digest, seconds)
