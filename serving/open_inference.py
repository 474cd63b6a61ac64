"""V2 REST bodies: JSON, and JSON followed by binary tensors; KServe's own decoder is not used.

KServe 0.21 makes a Python list of every binary tensor (some 800 ms of CPU for a photograph) and
answers JPEG bytes with 500.

Source: the Open Inference Protocol's REST API and its binary tensor data extension.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.json_body import check_reply_values, parse_json, read_parameters
from serving.refusals import BadInput
from serving.tensors import Tensor, check_output_names
from serving.threshold import THRESHOLD, read_threshold

HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class InferenceRequest:
    """A V2 request; `outputs` says of each wanted one whether it goes out binary."""

    id: str | None
    tensors: tuple[Tensor, ...]
    outputs: dict[str, bool]
    threshold: float | None


def read_request(body: bytes, headers: Mapping[str, str]) -> InferenceRequest:
    """Reads a V2 request; binary tensors are views of the body.

    Raises:
        BadInput: malformed JSON, header, tensor, size or threshold.
        TooLarge: too many numbers in lists.
    """
    view = memoryview(body)
    length = _header_length(headers.get(HEADER_LENGTH), len(body))
    head = parse_json(view[:length])
    if not isinstance(head, dict):
        raise BadInput("body: expected a JSON object with 'inputs'")
    tensors, end = [], length
    for item in _objects(head, "inputs"):
        tensor, end = _read_tensor(item, view, end)
        tensors.append(tensor)
    if end != len(body):
        raise BadInput(f"body: {len(body) - end} bytes after the last tensor")
    threshold = read_threshold(read_parameters(head, "body").get(THRESHOLD))
    return InferenceRequest(_read_id(head), tuple(tensors), _read_outputs(head), threshold)


def write_reply(
    head: dict[str, Any],
    outputs: list[tuple[str, str, NDArray[Any]]],
    is_binary: Mapping[str, bool],
) -> tuple[bytes, dict[str, str]]:
    """Writes a V2 reply: its body and its headers.

    Args:
        head: What the reply says beside its outputs.
        outputs: (name, datatype, array) of each.
        is_binary: Of each output, whether its data follows the JSON as bytes.

    Raises:
        TooLarge: too many numbers for JSON.
    """
    described, blobs = [], []
    for name, datatype, array in outputs:
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if is_binary[name]:
            blobs.append(np.ascontiguousarray(array).data)
            entry["parameters"] = {"binary_data_size": array.nbytes}
        else:
            check_reply_values(array.size)
            entry["data"] = np.ascontiguousarray(array).reshape(-1)
        described.append(entry)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not blobs:
        return text, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return b"".join([text, *blobs]), headers


def _header_length(text: str | None, body_length: int) -> int:
    if text is None:
        return body_length
    # str.isdigit also takes digits that int() does not read.
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:20]) <= body_length:
        raise BadInput(f"{HEADER_LENGTH}: found '{text[:40]}', expected 1..{body_length}")
    return int(text)


def _objects(head: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = head.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadInput(f"{key}: expected a list of objects")
    return items


def _read_id(head: dict[str, Any]) -> str | None:
    identifier = head.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadInput("id: expected a string")
    return identifier


def _read_tensor(item: dict[str, Any], view: memoryview, start: int) -> tuple[Tensor, int]:
    name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise BadInput("inputs: expected 'name' and 'datatype' as strings")
    if not isinstance(shape, list) or not all(type(length) is int for length in shape):
        raise BadInput(f"input '{name[:40]}': expected 'shape' as a list of integers")
    size = read_parameters(item, f"input '{name[:40]}'").get("binary_data_size")
    if "data" in item:
        if not isinstance(item["data"], list):
            raise BadInput(f"input '{name[:40]}': expected 'data' as a list")
        return Tensor(name, datatype.upper(), tuple(shape), values=item["data"]), start
    if type(size) is not int or not 0 <= size <= len(view) - start:
        raise BadInput(
            f"input '{name[:40]}': expected 'data', or 'binary_data_size' of at most "
            f"{len(view) - start} bytes"
        )
    raw = view[start : start + size]
    return Tensor(name, datatype.upper(), tuple(shape), raw=raw), start + size


def _read_outputs(head: dict[str, Any]) -> dict[str, bool]:
    default = _flag(read_parameters(head, "body"), "binary_data_output", False)
    asked: dict[str, bool] = {}
    for item in _objects(head, "outputs") if head.get("outputs") is not None else []:
        name = item.get("name")
        if not isinstance(name, str):
            raise BadInput("outputs: expected 'name' as a string")
        asked[name] = _flag(read_parameters(item, f"output '{name[:40]}'"), "binary_data", default)
    return {name: asked.get(name, default) for name in check_output_names(tuple(asked))}


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadInput(f"{name}: expected true or false")
    return value
