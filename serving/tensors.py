"""V2 tensors to pictures and back: what REST and gRPC of the Open Inference Protocol share."""

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import INPUT_NAME, OUTPUT_NAME
from serving.json_body import read_numbers
from serving.prediction import MAX_IMAGES, Picture, Prediction
from serving.refusals import BadInput, TooLarge

MASK_NAME = "mask"
OUTPUT_NAMES = (MASK_NAME, OUTPUT_NAME)

_FORMS = "UINT8 [N, H, W, 3] (RGB), FP32 [N, 3, H, W] (RGB in 0..1) or BYTES [N] (encoded images)"


@dataclass(frozen=True)
class Tensor:
    """A V2 tensor: raw bytes (little endian, row-major) or, from JSON and gRPC contents, a list."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes | memoryview | None = None
    values: Sequence[Any] | None = None


def read_pictures(tensors: Sequence[Tensor], max_pixels: int) -> tuple[Picture, ...]:
    """Reads the one input tensor; raw UINT8 pixels are viewed, not copied.

    Raises:
        BadInput: another input, datatype or shape, or data that does not fill the shape.
        TooLarge: more images or pixels than one request may have.
    """
    if len(tensors) != 1 or tensors[0].name != INPUT_NAME:
        names = ", ".join(repr(tensor.name[:40]) for tensor in tensors) or "none"
        raise BadInput(f"inputs: found {names}, expected one named '{INPUT_NAME}'")
    tensor = tensors[0]
    if any(length < 1 for length in tensor.shape) or not tensor.shape:
        raise BadInput(f"shape {list(tensor.shape[:8])}: expected positive lengths")
    if tensor.shape[0] > MAX_IMAGES:
        raise TooLarge(f"{tensor.shape[0]} images in one request, at most {MAX_IMAGES}")
    if tensor.datatype == "BYTES" and len(tensor.shape) in (1, 2):
        return _read_encoded(tensor)
    if tensor.datatype == "UINT8" and len(tensor.shape) == 4 and tensor.shape[3] == 3:
        _check_pixels(tensor.shape[0] * tensor.shape[1] * tensor.shape[2], max_pixels)
        return tuple(_read_numbers(tensor, np.dtype(np.uint8)))
    if tensor.datatype == "FP32" and len(tensor.shape) == 4 and tensor.shape[1] == 3:
        _check_pixels(tensor.shape[0] * tensor.shape[2] * tensor.shape[3], max_pixels)
        return tuple(to_pixels(image) for image in _read_numbers(tensor, np.dtype(np.float32)))
    raise BadInput(
        f"input '{INPUT_NAME}': found {tensor.datatype[:20]} {list(tensor.shape)[:8]}, "
        f"expected {_FORMS}"
    )


def to_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB float32 (3, H, W) in 0..1 -> uint8 (H, W, 3), rounded.

    Raises:
        BadInput: values outside 0..1; normalised images belong in training, the model does its own.
    """
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):  # so written that NaN is refused too
        raise BadInput(
            f"FP32 image with values {low:g}..{high:g}, expected RGB in 0..1, not normalised"
        )
    return np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)


def output_tensors(
    predictions: Sequence[Prediction], names: Sequence[str]
) -> list[tuple[str, str, NDArray[Any]]]:
    """Returns (name, datatype, array) of each wanted output, images of one size stacked."""
    outputs: list[tuple[str, str, NDArray[Any]]] = []
    for name in names:
        if name == MASK_NAME:
            mask = np.stack([prediction.mask for prediction in predictions])  # (N, H, W)
            outputs.append((name, "UINT8", mask))
        else:
            maps = [p.probability for p in predictions if p.probability is not None]
            outputs.append((name, "FP32", np.stack(maps)))  # (N, C, H, W)
    return outputs


def check_output_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the outputs to make: those asked for, or the mask alone when none is.

    Raises:
        BadInput: an output that the model does not have.
    """
    for name in names:
        if name not in OUTPUT_NAMES:
            raise BadInput(f"outputs: found '{name[:40]}', expected {' or '.join(OUTPUT_NAMES)}")
    return tuple(dict.fromkeys(names)) or (MASK_NAME,)


def _check_pixels(pixels: int, max_pixels: int) -> None:
    if pixels > max_pixels:
        raise TooLarge(f"{pixels:,} pixels, at most {max_pixels:,}")


def _read_numbers(tensor: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    count = math.prod(tensor.shape)
    if tensor.raw is not None:
        if len(tensor.raw) != count * dtype.itemsize:
            raise BadInput(
                f"input '{INPUT_NAME}': {len(tensor.raw)} bytes, expected "
                f"{count * dtype.itemsize} for {tensor.datatype} {list(tensor.shape)}"
            )
        return np.frombuffer(tensor.raw, dtype).reshape(tensor.shape)
    return _from_list(tensor, dtype, count)


def _from_list(tensor: Tensor, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    array = read_numbers(tensor.values, f"input '{INPUT_NAME}'")
    if array.size != count:
        raise BadInput(
            f"input '{INPUT_NAME}': {array.size} numbers, expected {count} for {list(tensor.shape)}"
        )
    if dtype == np.uint8 and not ((array >= 0) & (array <= 255) & (array % 1 == 0)).all():
        raise BadInput(f"input '{INPUT_NAME}': values outside 0..255, or fractions, as UINT8")
    return array.astype(dtype).reshape(tensor.shape)


def _read_encoded(tensor: Tensor) -> tuple[Picture, ...]:
    count = math.prod(tensor.shape)
    if tensor.raw is not None:
        items: list[Picture] = list(_split_bytes(memoryview(tensor.raw), count))
    else:
        items = [_decode_base64(item) for item in _flat(tensor.values or ())]
    if len(items) != count:
        raise BadInput(f"input '{INPUT_NAME}': {len(items)} images, expected {count} by its shape")
    return tuple(items)


def _split_bytes(raw: memoryview, count: int) -> Sequence[memoryview]:
    """Splits a BYTES tensor: each element follows its length, four bytes little endian."""
    items: list[memoryview] = []
    position = 0
    while position < len(raw):
        if len(items) == count:
            raise BadInput(
                f"input '{INPUT_NAME}': more than {count} images, the count of its shape"
            )
        if position + 4 > len(raw):
            raise BadInput(f"input '{INPUT_NAME}': BYTES that end within a length")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise BadInput(f"input '{INPUT_NAME}': an element of {length} bytes, beyond the data")
        items.append(raw[position : position + length])
        position += length
    return items


def _flat(values: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(value if isinstance(value, list) else [value])
    return flat


def _decode_base64(item: Any) -> bytes:
    if isinstance(item, bytes):  # gRPC contents hold the bytes themselves
        return item
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadInput(f"input '{INPUT_NAME}': an element that is not base64") from error
