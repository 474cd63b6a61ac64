"""A prediction as what the client asked for: PNG mask, overlay, JSON, or probabilities (.npy)."""

import base64
import io
import re
from collections.abc import Iterator
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
_QUALITY = re.compile(r"[01](\.\d{0,3})?")


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
    return _preferred(accept or "", default)


def request_for(
    pictures: tuple[Any, ...], output: Output, threshold: float | None, as_text: bool = False
) -> PredictionRequest:
    """Returns the PredictionRequest that has what this form of reply needs, and no more."""
    return PredictionRequest(
        pictures,
        wants_probability=output == "probability",
        wants_canvas=output == "overlay",
        threshold=threshold,
        as_text=as_text,
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


def _preferred(accept: str, default: Output) -> Output:
    """The form that an Accept header wants most; the default, when it wants none or any alike.

    Source: RFC 9110, section 12.5.1.
    """
    ranges = {name: (quality, -place) for place, (name, quality) in enumerate(_ranges(accept))}
    best, chosen = (0.0, 0), default
    for output in (default, *MEDIA_TYPES):
        media_type = MEDIA_TYPES[output]
        for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
            if name in ranges:  # the most specific one counts
                if ranges[name][0] > 0 and (best[0] == 0 or ranges[name] > best):
                    best, chosen = ranges[name], output
                break
    return chosen


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Media ranges of an Accept header, each with its quality; one that cannot be read is 0."""
    for entry in accept.split(","):
        media_range, _, parameters = entry.partition(";")
        quality = 1.0
        for parameter in parameters.split(";"):
            name, _, value = parameter.strip().lower().partition("=")
            if name == "q":
                quality = float(value) if _QUALITY.fullmatch(value) else 0.0
        yield media_range.strip().lower(), quality
