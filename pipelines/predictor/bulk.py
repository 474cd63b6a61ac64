"""Predicts the images of an object store on this machine, without a predictor."""

from collections.abc import Iterator

from components.predict_batch.plan import PREDICTIONS_FILE
from components.predict_batch.step import predict_batch
from pipelines.runs.finished import model_location
from segmentor.errors import ConfigError
from segmentor.object_uri import is_object_uri
from segmentor.plurals import counted


def predict_objects(source: str, model: str, output: str, mask_files: str) -> Iterator[str]:
    """Predict all images of a prefix or a list; yield what came of it.

    Args:
        source: The s3:// URI of a prefix, or of a list that ends in .txt.
        model: A run's folder, model.onnx or its folder, or an s3:// URI.
        output: The s3:// URI of a prefix.
        mask_files: 'png' or 'tar'.

    Raises:
        ConfigError: no model is named, or `output` is no s3:// URI or holds something else.
        SegmentorError: as predict_batch.
    """
    if not is_object_uri(output):
        raise ConfigError("--output", f"'{output}'", "s3://<bucket>/<prefix>, as the images have")
    if not model:
        raise ConfigError("--model", "not given", "a run's folder, model.onnx or an s3:// URI")
    _, totals = predict_batch(source, model_location(model), output, mask_files)
    yield f"{output.rstrip('/')}/{PREDICTIONS_FILE}"
    counts = ((totals.images, "image"), (totals.masks, "mask"), (totals.bad_images, "bad image"))
    yield ", ".join(counted(*count) for count in counts)
    yield from totals.first_bad
