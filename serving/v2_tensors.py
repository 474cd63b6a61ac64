"""V2 tensors to pictures, and predictions to V2 tensors, for REST and gRPC alike."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import INPUT_NAME
from segmentor.output_forms import MASK, Prediction, tensor_forms
from segmentor.plurals import counted
from serving.json_body import decode_base64, read_numbers, to_pixels
from serving.prediction import Picture
from serving.refusals import BadInput, TooLarge

_EXPECTED = (
    "UINT8 [N, H, W, 3] (RGB), FP32 [N, 3, H, W] (RGB in 0..1) or BYTES [N] (encoded images)"
)


@dataclass(frozen=True)
class Tensor:
    """A V2 tensor: raw bytes (little endian, row-major), or a list from JSON or gRPC contents."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes | memoryview | None = None
    values: Sequence[Any] | None = None


def read_pictures(tensors: Sequence[Tensor], max_pixels: int) -> tuple[Picture, ...]:
    """Read the one input tensor; raw UINT8 pixels are viewed, not copied.

    Raises:
        BadInput: another input, datatype or shape, or data that does not fill the shape.
        TooLarge: more pixels than one request may have.
    """
    if len(tensors) != 1 or tensors[0].name != INPUT_NAME:
        names = ", ".join(repr(tensor.name[:40]) for tensor in tensors) or "none"
        raise BadInput(f"inputs: found {names}, expected one named '{INPUT_NAME}'")
    tensor = tensors[0]
    if any(length < 1 for length in tensor.shape) or not tensor.shape:
        raise BadInput(f"shape {list(tensor.shape[:8])}: expected positive lengths")
    if tensor.datatype == "BYTES" and len(tensor.shape) in (1, 2):
        return _read_encoded(tensor)
    if tensor.datatype == "UINT8" and len(tensor.shape) == 4 and tensor.shape[3] == 3:
        _check_pixels(tensor.shape[0] * tensor.shape[1] * tensor.shape[2], max_pixels)
        return tuple(_read_numbers(tensor, np.dtype(np.uint8)))
    if tensor.datatype == "FP32" and len(tensor.shape) == 4 and tensor.shape[1] == 3:
        _check_pixels(tensor.shape[0] * tensor.shape[2] * tensor.shape[3], max_pixels)
        return tuple(scale_pixels(image) for image in _read_numbers(tensor, np.dtype(np.float32)))
    raise BadInput(
        f"input '{INPUT_NAME}': found {tensor.datatype[:20]} {list(tensor.shape)[:8]}, "
        f"expected {_EXPECTED}"
    )


def scale_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert RGB float32 (3, H, W) in 0..1 to uint8 (H, W, 3), rounded.

    Raises:
        BadInput: values outside 0..1; the model normalises by itself.
    """
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):  # refuses NaN too
        raise BadInput(
            f"FP32 image with values {low:g}..{high:g}, expected RGB in 0..1, not normalised"
        )
    return np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)


def output_tensors(
    predictions: Sequence[Prediction], names: Iterable[str]
) -> list[tuple[str, str, NDArray[Any]]]:
    """Return (name, datatype, array) of each output, with the images of a request stacked."""
    forms = tensor_forms()
    return [
        (name, forms[name].datatype, np.stack([forms[name].array(p) for p in predictions]))
        for name in names
    ]


def check_output_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the outputs to make: those asked for, or the mask alone.

    Raises:
        BadInput: an output that the model does not have.
    """
    forms = tensor_forms()
    for name in names:
        if name not in forms:
            raise BadInput(f"outputs: found '{name[:40]}', expected {' or '.join(forms)}")
    return tuple(dict.fromkeys(names)) or (MASK,)


def _check_pixels(pixels: int, max_pixels: int) -> None:
    if pixels > max_pixels:
        raise TooLarge(f"{pixels:,} pixels, at most {max_pixels:,}")


def _read_numbers(tensor: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    count = math.prod(tensor.shape)
    if tensor.raw is not None:
        if len(tensor.raw) != count * dtype.itemsize:
            raise BadInput(
                f"input '{INPUT_NAME}': {counted(len(tensor.raw), 'byte')}, expected "
                f"{count * dtype.itemsize} for {tensor.datatype} {list(tensor.shape)}"
            )
        return np.frombuffer(tensor.raw, dtype).reshape(tensor.shape)
    return _from_list(tensor, dtype, count)


def _from_list(tensor: Tensor, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    array = read_numbers(tensor.values, f"input '{INPUT_NAME}'")
    if array.size != count:
        raise BadInput(
            f"input '{INPUT_NAME}': {counted(array.size, 'number')}, expected {count} for "
            f"{list(tensor.shape)}"
        )
    if dtype == np.uint8:
        return to_pixels(array, f"input '{INPUT_NAME}'").reshape(tensor.shape)
    return array.astype(dtype).reshape(tensor.shape)


def _read_encoded(tensor: Tensor) -> tuple[Picture, ...]:
    count = math.prod(tensor.shape)
    if tensor.raw is not None:
        items: list[Picture] = list(_split_bytes(memoryview(tensor.raw), count))
    else:
        items = [_decode_element(item) for item in _flat(tensor.values or ())]
    if len(items) != count:
        raise BadInput(
            f"input '{INPUT_NAME}': {counted(len(items), 'image')}, expected {count} by its shape"
        )
    return tuple(items)


def _split_bytes(raw: memoryview, count: int) -> Sequence[memoryview]:
    """Split a BYTES tensor: four bytes of length, little endian, before each element."""
    items: list[memoryview] = []
    position = 0
    while position < len(raw):
        if len(items) == count:
            raise BadInput(
                f"input '{INPUT_NAME}': more than {counted(count, 'image')}, the count of its shape"
            )
        if position + 4 > len(raw):
            raise _no_length(len(raw) - position)
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise _no_length(len(raw) - position, f"a length of {length:,} before ")
        items.append(raw[position : position + length])
        position += length
    return items


def _flat(values: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(value if isinstance(value, list) else [value])
    return flat


def _no_length(left: int, found: str = "") -> BadInput:
    return BadInput(
        f"input '{INPUT_NAME}': found {found}{counted(left, 'byte')}, expected BYTES elements that "
        "begin with their length (four bytes, little endian)"
    )


def _decode_element(item: Any) -> bytes:
    if isinstance(item, bytes):  # gRPC contents hold the bytes themselves
        return item
    where = f"input '{INPUT_NAME}'"
    if not isinstance(item, str):
        raise BadInput(f"{where}: an element that is not base64 text")
    return decode_base64(item, where)
