"""The one pipeline behind every way in: image to mask, with what the wanted reply needs."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.image_io import MAX_PIXELS, decode_image
from segmentor.inference import decode_for, mask_at, mask_of, probability_at
from segmentor.tiling import is_tiled, tiled
from serving.metrics import observe_image, stage
from serving.refusals import BadInput, TooLarge, image_refusals
from serving.served_model import ServedModel

Output = Literal["mask", "overlay", "json", "probability"]

# An encoded image, or RGB uint8 (H, W, 3).
Picture = bytes | memoryview | NDArray[np.uint8]

MAX_IMAGES = 16
# 256 MiB of float32: a small pod holds it twice, as array and as reply.
MAX_PROBABILITIES = 1 << 26


@dataclass(frozen=True)
class PredictionRequest:
    """Images, and what is wanted of each: a mask always, and the rest on demand."""

    pictures: tuple[Picture, ...]
    wants_probability: bool = False
    wants_canvas: bool = False
    threshold: float | None = None


@dataclass(frozen=True)
class Prediction:
    """What came of one image, all at the image's own size, upright.

    `mask`: uint8 (H, W), class indices. `probability`: float32 (C, H, W), when it was wanted.
    `canvas`: RGB uint8 (H, W, 3), the image itself, when it was wanted.
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.float32] | None = None
    canvas: NDArray[np.uint8] | None = None


def predict(
    model: ServedModel, request: PredictionRequest, max_pixels: int = MAX_PIXELS
) -> list[Prediction]:
    """Predicts image by image, so that a mask never depends on what else was in the request.

    Raises:
        BadInput: an image cannot be decoded, or a threshold that does not apply.
        TooLarge: more images or probabilities than one request may have.
    """
    if len(request.pictures) > MAX_IMAGES:
        raise TooLarge(f"{len(request.pictures)} images in one request, at most {MAX_IMAGES}")
    contract = _with_threshold(model.contract, request.threshold)
    return [
        _predict_one(model, contract, request, picture, max_pixels) for picture in request.pictures
    ]


def _predict_one(
    model: ServedModel,
    contract: ModelContract,
    request: PredictionRequest,
    picture: Picture,
    max_pixels: int,
) -> Prediction:
    with stage("decode"), image_refusals():
        pixels, size = _pixels(contract, picture, max_pixels)
    if request.wants_probability:
        _check_probabilities(contract, size)
    if is_tiled(contract.input, size) and not request.wants_probability:
        with stage("infer"):
            mask, full = mask_of(model.forward, contract, pixels, size), None
    else:
        with stage("infer"):
            forward = tiled(model.forward, contract.input)
            probability = forward(pixels[None])[0]  # (C, h, w)
        with stage("mask"):
            mask = mask_at(probability, contract, size)
            full = probability_at(probability, size) if request.wants_probability else None
    observe_image(pixels, mask, contract.label_map.names)
    canvas = None
    if request.wants_canvas:
        with stage("decode"), image_refusals():
            canvas = pixels if pixels.shape[:2] == size else _full_canvas(picture, max_pixels)
    return Prediction(mask, full, canvas)


def _pixels(
    contract: ModelContract, picture: Picture, max_pixels: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    if isinstance(picture, np.ndarray):
        return picture, (picture.shape[0], picture.shape[1])
    return decode_for(contract, bytes(picture), "image", max_pixels)


def _full_canvas(picture: Picture, max_pixels: int) -> NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        return picture
    return decode_image(bytes(picture), "image", max_pixels)


def _check_probabilities(contract: ModelContract, size: tuple[int, int]) -> None:
    values = contract.channels * size[0] * size[1]
    if values > MAX_PROBABILITIES:
        raise TooLarge(f"{values:,} probabilities, at most {MAX_PROBABILITIES:,}; ask for the mask")


def _with_threshold(contract: ModelContract, threshold: float | None) -> ModelContract:
    if threshold is None:
        return contract
    if not contract.is_binary:
        raise BadInput("threshold: the model has more than two classes and takes the likeliest")
    if not 0 < threshold < 1:
        raise BadInput(f"threshold: found {threshold}, expected a value in (0, 1)")
    return dataclasses.replace(contract, threshold=threshold)
