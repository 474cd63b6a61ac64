"""V2 REST: JSON, or JSON followed by binary tensors.

KServe's own decoder is not used: it turns binary tensors into Python lists (about 0.8 s of CPU for
a photograph) and answers JPEG bytes with 500.

Source: the Open Inference Protocol's REST API and its binary tensor data extension.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray

from segmentor.output_forms import Prediction, needs
from segmentor.plurals import counted
from serving import logs
from serving.engines.loading import ServedModel
from serving.http.exchange import answer, read_body
from serving.json_body import (
    THRESHOLD,
    check_reply_values,
    parse_json,
    read_parameters,
    read_threshold,
)
from serving.kserve_model import Encode, FixedRepository
from serving.prediction import PredictionRequest
from serving.refusals import BadInput
from serving.v2_tensors import Tensor, check_output_names, output_tensors, read_pictures

HEADER_LENGTH = "inference-header-content-length"
Threshold = Annotated[
    float | None, Query(gt=0, lt=1, description="Binary models: foreground above it.")
]


@dataclass(frozen=True)
class Asked:
    """What a V2 request asks of its reply: its id, and for each output whether it is binary."""

    id: str | None
    outputs: dict[str, bool]


def v2_router(repository: FixedRepository) -> APIRouter:
    """Build the routes. OpenAPI gets their bodies in openapi.py: FastAPI must not parse them."""
    router = APIRouter()

    @router.post("/v2/models/{model_name}/infer", tags=["V2"])
    async def infer_latest(
        request: Request, model_name: str, threshold: Threshold = None
    ) -> Response:
        """Infer a V2 request: JSON, or JSON followed by binary tensors."""
        return await infer_version(request, model_name, "", threshold)

    @router.post("/v2/models/{model_name}/versions/{model_version}/infer", tags=["V2"])
    async def infer_version(
        request: Request, model_name: str, model_version: str, threshold: Threshold = None
    ) -> Response:
        """Infer a V2 request, if the model has this version."""
        model = await repository.find_ready(model_name, model_version)

        def decode(body: bytes) -> tuple[PredictionRequest, Encode[Response]]:
            return decode_tensors(
                model.served, body, request.headers, threshold, model.limits.max_pixels
            )

        return await answer(request, model, read_body, decode)

    return router


def decode_tensors(
    served: ServedModel,
    body: bytes,
    headers: Mapping[str, str],
    threshold: float | None,
    max_pixels: int,
) -> tuple[PredictionRequest, Encode[Response]]:
    """Decode a V2 request; binary tensors are views of the body.

    Raises:
        BadInput: malformed JSON, header, tensor, size or threshold.
        TooLarge: too many pixels, or numbers in lists.
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
        raise BadInput(f"body: {counted(len(body) - end, 'byte')} after the last tensor")
    parameters = read_parameters(head, "body")
    asked = Asked(_read_id(head), _read_outputs(head, parameters))
    parameter = read_threshold(parameters.get(THRESHOLD))
    request = PredictionRequest(
        read_pictures(tensors, max_pixels),
        needs(asked.outputs),
        parameter if threshold is None else threshold,  # the query wins
        is_stacked=True,
    )
    return request, partial(encode_tensors, served, asked)


def encode_tensors(served: ServedModel, asked: Asked, predictions: list[Prediction]) -> Response:
    """Encode predictions as a V2 reply.

    Raises:
        TooLarge: too many numbers for JSON.
    """
    described, blobs = [], []
    for name, datatype, array in output_tensors(predictions, asked.outputs):
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        data: NDArray[Any] = np.ascontiguousarray(array)
        if asked.outputs[name]:
            blobs.append(data.data)
            entry["parameters"] = {"binary_data_size": data.nbytes}
        else:
            check_reply_values(data.size)
            entry["data"] = data.reshape(-1)
        described.append(entry)
    head = {
        "model_name": served.name,
        "model_version": served.version,
        "id": asked.id or logs.request_id.get(),
        "parameters": {"digest": served.digest, "engine": served.engine},
        "outputs": described,
    }
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    if not blobs:
        return Response(text, media_type="application/json")
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return Response(b"".join([text, *blobs]), headers=headers)


def _header_length(text: str | None, body_length: int) -> int:
    if text is None:
        return body_length
    # str.isdigit alone accepts digits that int() does not.
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
            f"{counted(len(view) - start, 'byte')}"
        )
    raw = view[start : start + size]
    return Tensor(name, datatype.upper(), tuple(shape), raw=raw), start + size


def _read_outputs(head: dict[str, Any], parameters: dict[str, Any]) -> dict[str, bool]:
    default = _flag(parameters, "binary_data_output", False)
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
