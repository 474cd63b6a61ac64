"""Predict: images to masks, with whatever else the reply needs; every way in comes here."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.image_io import MAX_PIXELS, decode_image, read_header
from segmentor.inference import decode_for, mask_at, mask_of, probability_at
from segmentor.output_forms import Need, Prediction
from segmentor.tiling import OVERLAP, TILE, is_tiled, tile_side, tiled
from serving.admission import FREE_MEGAPIXELS, give_way
from serving.engines.loading import ServedModel
from serving.metrics import observe_image, stage
from serving.refusals import BadInput, TooLarge, image_refusals

# An encoded image, or RGB uint8 (H, W, 3).
Picture = bytes | memoryview | NDArray[np.uint8]

MAX_IMAGES = 16
# 256 MiB of float32: a small pod holds it twice, as array and as reply.
MAX_PROBABILITIES = 1 << 26
MAX_CANVAS_PIXELS = 50_000_000
# A request with more pixels is large. In tiles, which take seconds, a smaller one is too.
LARGE_PIXELS = 16_000_000
# The resize in the network holds rows at the image's full width, several times over.
LARGE_LINES = 1 << 22
MAX_LINES = 1 << 24
# Tiling holds the probabilities of all classes where two rows of tiles overlap.
MAX_SEAM = 1 << 26


@dataclass(frozen=True)
class PredictionRequest:
    """Images, and what the reply needs of each beside its mask.

    `as_text`: probabilities go out as base64 in JSON. `is_stacked`: the results make one tensor.
    """

    pictures: tuple[Picture, ...]
    needs: frozenset[Need] = frozenset()
    threshold: float | None = None
    as_text: bool = False
    is_stacked: bool = False


def predict(
    model: ServedModel, request: PredictionRequest, max_pixels: int = MAX_PIXELS
) -> list[Prediction]:
    """Predict image by image, so that a mask does not depend on the other images of a request.

    Raises:
        BadInput: too many images, one that cannot be decoded, or a threshold that does not apply.
        TooLarge: more pixels or probabilities than one request may have.
        LargeRequest: it is large, and this thread is for small ones; no work is lost.
    """
    if len(request.pictures) > MAX_IMAGES:
        raise BadInput(f"{len(request.pictures)} images in one request, at most {MAX_IMAGES}")
    contract = _with_threshold(model.contract, request.threshold)
    count = len(request.pictures)
    names = [f"image {place} of {count}" if count > 1 else "image" for place in range(1, count + 1)]
    named = list(zip(names, request.pictures, strict=True))
    with image_refusals():
        sizes = [_size_of(picture, name, max_pixels) for name, picture in named]
    _check_sizes(contract, request, sizes, max_pixels)
    pixels = sum(height * width for height, width in sizes)
    if pixels > LARGE_PIXELS or any(_is_large(contract, size) for size in sizes):
        give_way(pixels / 1e6 * _weight(contract))
    return [
        _predict_one(model, contract, request, picture, name, size)
        for (name, picture), size in zip(named, sizes, strict=True)
    ]


def _predict_one(
    model: ServedModel,
    contract: ModelContract,
    request: PredictionRequest,
    picture: Picture,
    name: str,
    size: tuple[int, int],
) -> Prediction:
    max_pixels = size[0] * size[1]
    with stage("decode"), image_refusals():
        pixels = _pixels(contract, picture, name, max_pixels)
    mask, probability = _run(model, contract, pixels, size, "probability" in request.needs)
    if contract.threshold == model.contract.threshold:
        # A mask by a client's own threshold says nothing about drift.
        observe_image(pixels, mask, contract.label_map.names, model.drift)
    if "canvas" not in request.needs:
        return Prediction(mask, probability)
    with stage("decode"), image_refusals():
        canvas = pixels if pixels.shape[:2] == size else _full_canvas(contract, picture, max_pixels)
    return Prediction(mask, probability, canvas)


def _run(
    model: ServedModel,
    contract: ModelContract,
    pixels: NDArray[np.uint8],
    size: tuple[int, int],
    wants_probability: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    if is_tiled(contract, size) and not wants_probability:
        with stage("infer"):
            return mask_of(model.forward, contract, pixels, size), None
    with stage("infer"):
        probability = tiled(model.forward, contract)(pixels[None])[0]  # (C, h, w)
    with stage("mask"):
        mask = mask_at(probability, contract, size)
        return mask, probability_at(probability, size) if wants_probability else None


def _size_of(picture: Picture, name: str, max_pixels: int) -> tuple[int, int]:
    if isinstance(picture, np.ndarray):
        return picture.shape[0], picture.shape[1]
    return read_header(bytes(picture), name, max_pixels).size


def _check_sizes(
    contract: ModelContract,
    request: PredictionRequest,
    sizes: list[tuple[int, int]],
    max_pixels: int,
) -> None:
    """Refuse what would take more memory than a pod has, before anything is decoded.

    The images of a request count together, because all masks stay in memory until the reply.
    """
    if request.is_stacked and len(set(sizes)) > 1:
        raise BadInput("images of different sizes, expected one size; send a request for each")
    for size in sizes:
        _check_shape(contract, size)
    pixels = sum(height * width for height, width in sizes)
    images = "an image" if len(sizes) == 1 else f"{len(sizes)} images"
    if pixels > max_pixels:
        raise TooLarge(f"{images} of {pixels:,} pixels, at most {max_pixels:,} in one request")
    values = contract.channels * pixels
    most = MAX_PROBABILITIES // 4 if request.as_text else MAX_PROBABILITIES
    if "probability" in request.needs and values > most:
        raise TooLarge(f"{values:,} probabilities, at most {most:,}; ask for the mask")
    if "canvas" in request.needs and pixels > MAX_CANVAS_PIXELS:
        raise TooLarge(
            f"an overlay of {pixels:,} pixels, at most {MAX_CANVAS_PIXELS:,}; ask for the mask"
        )


def _is_large(contract: ModelContract, size: tuple[int, int]) -> bool:
    work = size[0] * size[1] / 1e6 * _weight(contract)
    in_many_tiles = is_tiled(contract, size) and work > FREE_MEGAPIXELS
    return in_many_tiles or _lines(contract, size) > LARGE_LINES


def _weight(contract: ModelContract) -> float:
    """Return the work for a pixel: small tiles, for many classes, overlap more."""
    if contract.input.size_policy == "resize":
        return 1.0
    return (TILE / tile_side(contract)) ** 2


def _lines(contract: ModelContract, size: tuple[int, int]) -> int:
    """Return the pixels that a `resize` model holds: its own rows at the image's full width."""
    return contract.input.size[0] * size[1] if contract.input.size_policy == "resize" else 0


def _check_shape(contract: ModelContract, size: tuple[int, int]) -> None:
    """Refuse an image so wide that the network, or its tiles, would take too much memory."""
    width = size[1]
    if _lines(contract, size) > MAX_LINES:
        most = MAX_LINES // contract.input.size[0]
        raise TooLarge(f"an image {width:,} pixels wide, at most {most:,} for this model")
    if is_tiled(contract, size) and contract.channels * OVERLAP * width > MAX_SEAM:
        most = MAX_SEAM // OVERLAP // contract.channels
        raise TooLarge(f"an image {width:,} pixels wide, at most {most:,} for this model")


def _pixels(
    contract: ModelContract, picture: Picture, name: str, max_pixels: int
) -> NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        return picture
    return decode_for(contract, bytes(picture), name, max_pixels)[0]


def _full_canvas(contract: ModelContract, picture: Picture, max_pixels: int) -> NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        return picture
    return decode_image(bytes(picture), "image", max_pixels, white=contract.input.white)


def _with_threshold(contract: ModelContract, threshold: float | None) -> ModelContract:
    if threshold is None:
        return contract
    if not contract.is_binary:
        raise BadInput("threshold: the model has more than two classes and takes the likeliest")
    return dataclasses.replace(contract, threshold=threshold)
