"""A prediction as what the client asked for: PNG mask, overlay, JSON, or probabilities (.npy)."""

import base64
import io
from typing import Any

import numpy as np

from segmentor.image_io import encode_png
from segmentor.label_map import LabelMap
from segmentor.masks import encode_mask, overlay
from serving.metrics import stage
from serving.prediction import Output, Prediction, PredictionRequest
from serving.refusals import BadInput
from serving.run_length import ClassRuns
from serving.served_model import ServedModel

MEDIA_TYPES: dict[Output, str] = {
    "mask": "image/png",
    "overlay": "image/png",
    "json": "application/json",
    "probability": "application/x-npy",
}


def choose_output(asked: str | None, accept: str | None, default: Output) -> Output:
    """Chooses the form of the reply: the parameter wins, then Accept, then the route's default.

    Raises:
        BadInput: the parameter names no form.
    """
    if asked is not None:
        for output in MEDIA_TYPES:
            if asked == output:
                return output
        raise BadInput(f"output: found '{asked[:40]}', expected one of {', '.join(MEDIA_TYPES)}")
    for media_type in _by_preference(accept or ""):
        if media_type == MEDIA_TYPES[default]:
            return default
        for output, offered in MEDIA_TYPES.items():
            if media_type == offered:
                return output
    return default


def request_for(pictures: tuple[Any, ...], output: Output, threshold: float | None) -> Any:
    """Returns the PredictionRequest that has what this form of reply needs, and no more."""
    return PredictionRequest(
        pictures,
        wants_probability=output == "probability",
        wants_canvas=output == "overlay",
        threshold=threshold,
    )


def encode(prediction: Prediction, output: Output, label_map: LabelMap) -> bytes:
    """Encodes one prediction as PNG or .npy."""
    with stage("encode"):
        if output == "overlay" and prediction.canvas is not None:
            return encode_png(overlay(prediction.canvas, prediction.mask, label_map))
        if output == "probability" and prediction.probability is not None:
            buffer = io.BytesIO()
            np.save(buffer, prediction.probability)
            return buffer.getvalue()
        return encode_mask(prediction.mask)


def identity(model: ServedModel) -> dict[str, str]:
    """Returns what names the model in a reply."""
    return {
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "engine": model.engine,
    }


def describe(prediction: Prediction, label_map: LabelMap) -> dict[str, Any]:
    """Returns size and classes as JSON: pixels, coverage and COCO run-length encoding of each."""
    with stage("encode"):
        height, width = prediction.mask.shape
        runs = ClassRuns(prediction.mask)
        pixels = runs.pixels(len(label_map))
        return {
            "size": [height, width],
            "classes": [
                {
                    "index": index,
                    "name": label.name,
                    "colour": list(label.colour),
                    "pixels": pixels[index],
                    "coverage": round(pixels[index] / prediction.mask.size, 6),
                    "rle": {"size": [height, width], "counts": runs.counts(index)},
                }
                for index, label in enumerate(label_map.classes)
            ],
        }


def describe_with(prediction: Prediction, output: Output, label_map: LabelMap) -> dict[str, Any]:
    """Returns `describe`, and the form that was asked for as base64: what V1 JSON replies with."""
    described = describe(prediction, label_map)
    if output != "json":
        encoded = encode(prediction, output, label_map)
        described[output] = {"b64": base64.b64encode(encoded).decode("ascii")}
    return described


def _by_preference(accept: str) -> list[str]:
    """Media types of an Accept header, most wanted first; what cannot be read counts least."""
    weighted = []
    for position, entry in enumerate(accept.split(",")):
        media_type, _, parameters = entry.partition(";")
        quality = 1.0
        for parameter in parameters.split(";"):
            name, _, value = parameter.strip().partition("=")
            if name == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if quality > 0:
            weighted.append((-quality, position, media_type.strip().lower()))
    return [media_type for _, _, media_type in sorted(weighted)]
