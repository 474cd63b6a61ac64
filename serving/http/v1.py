"""V1 `:predict` and `/predict`: an image, JSON `instances`, or an upload."""

import base64
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from segmentor.output_forms import JSON, MASK, OUTPUT_FORMS, Prediction, describe, needs
from serving.engines.loading import ServedModel
from serving.http.accept import choose_form
from serving.http.exchange import answer, read_body, read_upload
from serving.json_body import (
    THRESHOLD,
    decode_base64,
    parse_json,
    read_numbers,
    read_parameters,
    read_threshold,
    to_pixels,
)
from serving.kserve_model import Encode, FixedRepository
from serving.prediction import Picture, PredictionRequest
from serving.refusals import BadInput

Form = Annotated[
    str | None,
    Query(
        description="The form of the reply; without it, Accept chooses.",
        json_schema_extra={"enum": list(OUTPUT_FORMS)},
    ),
]
Threshold = Annotated[
    float | None, Query(gt=0, lt=1, description="Binary models: foreground above it.")
]
_INSTANCES = '{"image": {"b64": "<base64>"}} or an H x W x 3 list of RGB values 0..255'


def v1_router(repository: FixedRepository) -> APIRouter:
    """Build the routes. OpenAPI gets their bodies in openapi.py: FastAPI must not parse them."""
    router = APIRouter()

    @router.post("/v1/models/{model_name}:predict", tags=["V1"])
    async def predict_v1(
        request: Request, model_name: str, output: Form = None, threshold: Threshold = None
    ) -> Response:
        """Predict the image in the body, or the `instances` of a JSON body."""
        model = await repository.find_ready(model_name)

        def decode(body: bytes) -> tuple[PredictionRequest, Encode[Response]]:
            if is_json(request, body):
                return decode_instances(model.served, body, output, threshold)
            _check_is_no_form(request)
            form = choose_form(output, _accept(request), MASK)
            return decode_image(model.served, body, form, threshold)

        return await answer(request, model, read_body, decode)

    @router.post("/predict", tags=["upload"])
    async def predict_upload(
        request: Request, output: Form = None, threshold: Threshold = None
    ) -> Response:
        """Predict the image in the multipart field `file`; JSON by default, PNG on request."""
        model = await repository.find_ready(repository.model.name)
        form = choose_form(output, _accept(request), JSON)

        def decode(body: bytes) -> tuple[PredictionRequest, Encode[Response]]:
            return decode_image(model.served, body, form, threshold)

        return await answer(request, model, read_upload, decode)

    return router


def decode_image(
    served: ServedModel, body: bytes, form: str, threshold: float | None
) -> tuple[PredictionRequest, Encode[Response]]:
    """Decode a body that is one image; the reply is that image's prediction in one form."""
    request = PredictionRequest((body,), needs([form]), threshold)
    return request, partial(encode_image, served, form)


def encode_image(served: ServedModel, form: str, predictions: list[Prediction]) -> Response:
    """Encode the prediction of one image."""
    (prediction,) = predictions
    label_map = served.contract.label_map
    if form == JSON:
        described = describe(prediction, label_map)
        return _json({"status": "200", **_identity(served), **described})
    entry = OUTPUT_FORMS[form]
    return Response(entry.encode(prediction, label_map), media_type=entry.media_type)


def decode_instances(
    served: ServedModel, body: bytes, output: str | None, threshold: float | None
) -> tuple[PredictionRequest, Encode[Response]]:
    """Decode a V1 JSON body.

    Raises:
        BadInput: not JSON, no instances, an instance of another kind, or an invalid threshold.
        TooLarge: too many numbers in lists.
    """
    payload = parse_json(body)
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or not instances:
        raise BadInput(f"body: expected a JSON object with 'instances', a list of {_INSTANCES}")
    parameter = read_threshold(read_parameters(payload, "body").get(THRESHOLD))
    form = choose_form(output, None, JSON)
    pictures = tuple(_read_instance(instance, index) for index, instance in enumerate(instances))
    threshold = parameter if threshold is None else threshold  # the query wins
    request = PredictionRequest(pictures, needs([form]), threshold, as_text=True)
    return request, partial(encode_instances, served, form)


def encode_instances(served: ServedModel, form: str, predictions: list[Prediction]) -> Response:
    """Encode predictions as V1 JSON: each described, with the form asked for in base64."""
    label_map = served.contract.label_map
    described = [describe(prediction, label_map) for prediction in predictions]
    if form != JSON:
        encode: Callable[[Prediction, Any], bytes] = OUTPUT_FORMS[form].encode
        for entry, prediction in zip(described, predictions, strict=True):
            entry[form] = {"b64": base64.b64encode(encode(prediction, label_map)).decode("ascii")}
    return _json({"predictions": described, **_identity(served)})


def is_json(request: Request, body: bytes) -> bool:
    """Return True if Content-Type says JSON, or if the body begins with a brace."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return content_type in ("application/json", "text/json") or body[:64].lstrip()[:1] == b"{"


def _check_is_no_form(request: Request) -> None:
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise BadInput(
            "body: found a multipart form, expected an image or JSON; send the form to /predict, "
            "or the image itself (curl --data-binary @photo.jpg)"
        )


def _accept(request: Request) -> str:
    """Join the lines of Accept: they are one list (RFC 9110, section 5.3)."""
    return ", ".join(request.headers.getlist("accept"))


def _read_instance(instance: Any, index: int) -> Picture:
    where = f"instances[{index}]"
    image = instance.get("image", instance) if isinstance(instance, dict) else instance
    if isinstance(image, list):
        array = read_numbers(image, where)
        if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
            raise BadInput(f"{where}: found shape {list(array.shape)}, expected H x W x 3 numbers")
        return to_pixels(array, where)
    if isinstance(image, dict) and isinstance(image.get("b64"), str):
        return decode_base64(image["b64"], where)
    raise BadInput(f"{where}: expected {_INSTANCES}")


def _identity(served: ServedModel) -> dict[str, str]:
    return {
        "model": served.name,
        "version": served.version,
        "digest": served.digest,
        "engine": served.engine,
    }


def _json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
