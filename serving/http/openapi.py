"""The OpenAPI description, with bodies and examples that work, and its offline page at /docs."""

import base64
from importlib.resources import files
from typing import Any

import numpy as np
from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html

from segmentor.contract import ModelContract
from segmentor.image_io import encode_png
from segmentor.output_forms import OUTPUT_FORMS
from serving.engines.loading import ServedModel
from serving.http.request_schemas import v1_body, v2_body
from serving.json_body import THRESHOLD
from serving.refusals import NotFound

_BINARY = {"type": "string", "format": "binary"}
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff")
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

ERROR = {
    "type": "object",
    "required": ["error", "request_id"],
    "properties": {
        "error": {"type": "string", "description": "What was found and what was expected."},
        "request_id": {"type": "string", "description": "As in the server's log."},
        "status": {"type": "string", "const": "100", "description": "Only on `/predict`."},
        "message": {"type": "string", "description": "Only on `/predict`: the error again."},
    },
}
_ERRORS = {
    "400": "The body, a header or a parameter is wrong, or the data is not an image.",
    "404": "No such model or version.",
    "408": "The body did not arrive in time.",
    "413": "More bytes or pixels than allowed.",
    "415": "The body has a Content-Encoding.",
    "503": "Busy, out of time, or not ready; Retry-After says when to come back.",
}


def add_docs(app: FastAPI, served: ServedModel) -> None:
    """Complete the description of an application, and serve its page."""
    schema = FastAPI.openapi(app)
    schema["components"]["schemas"]["Error"] = ERROR
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)
    bodies = _bodies(served.contract)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete(operation, method, served)
            if path in bodies and method == "post":
                operation["requestBody"] = {"required": True, "content": bodies[path]}
                operation["responses"]["200"] = _predicted(path)
    metrics = schema["paths"]["/metrics"]["get"]["responses"]["200"]
    metrics["content"] = {"text/plain": {"schema": {"type": "string"}}}
    app.openapi = lambda: schema  # type: ignore[method-assign]
    app.add_api_route("/docs", _page, include_in_schema=False)
    app.add_api_route("/docs/{name}", _asset, include_in_schema=False)


def _complete(operation: dict[str, Any], method: str, served: ServedModel) -> None:
    operation["responses"].pop("422", None)  # ours are 400
    refusals = dict(_ERRORS) if method == "post" else {k: _ERRORS[k] for k in ("404", "503")}
    if "unload" in operation["operationId"] or "load_v2" in operation["operationId"]:
        operation["responses"].pop("200", None)
        refusals = {"403": "The model is fixed at start."}
    reference = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for code, description in refusals.items():
        operation["responses"][code] = {"description": description, "content": reference}
    parameters = operation.get("parameters", [])
    if not served.contract.is_binary:
        parameters[:] = [item for item in parameters if item["name"] != THRESHOLD]
    for parameter in parameters:
        if parameter["name"] == "model_name":
            parameter["example"] = served.name
        if parameter["name"] == "model_version":
            parameter["example"] = served.version


def _bodies(contract: ModelContract) -> dict[str, dict[str, Any]]:
    """Return the request bodies by path; the examples are small, and work."""
    picture = base64.b64encode(encode_png(np.full((8, 12, 3), 120, np.uint8))).decode()
    v1 = {"instances": [{"image": {"b64": picture}}]}
    tensor = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [120] * 12}
    v2 = {"id": "42", "inputs": [tensor], "outputs": [{"name": "mask"}]}
    upload = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {**_BINARY, "description": "An encoded image."}},
    }
    images: dict[str, Any] = {media_type: {"schema": _BINARY} for media_type in _IMAGE_TYPES}
    infer = {"application/json": {"schema": v2_body(contract), "example": v2}}
    return {
        "/v1/models/{model_name}:predict": {
            **images,
            "application/json": {"schema": v1_body(contract), "example": v1},
        },
        "/predict": {
            "multipart/form-data": {
                "schema": upload,
                "encoding": {"file": {"contentType": ", ".join(_IMAGE_TYPES)}},
            }
        },
        "/v2/models/{model_name}/infer": infer,
        "/v2/models/{model_name}/versions/{model_version}/infer": infer,
    }


def _predicted(path: str) -> dict[str, Any]:
    json = {"application/json": {"schema": {"type": "object"}}}
    if path.startswith("/v2"):
        binary = {"application/octet-stream": {"schema": _BINARY}}
        return {"description": "The outputs asked for.", "content": {**json, **binary}}
    media_types = {form.media_type for form in OUTPUT_FORMS.values()} - set(json)
    others = {name: {"schema": _BINARY} for name in media_types}
    return {"description": "The prediction, in the form asked for.", "content": {**json, **others}}


async def _page() -> Response:
    return get_swagger_ui_html(
        openapi_url="openapi.json",  # relative, as the assets are: a gateway may strip a prefix
        title="Segmentor predictor",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="data:,",
    )


async def _asset(name: str) -> Response:
    """Serve swagger-ui from the package fastapi-offline, so that /docs needs no internet."""
    if name not in _ASSETS:
        raise NotFound(f"no '{name[:80]}' here")
    content = (files("fastapi_offline") / "static" / name).read_bytes()
    return Response(content, media_type=_ASSETS[name], headers={"Cache-Control": "max-age=86400"})
