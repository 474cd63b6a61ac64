"""What CVAT's "AI tools" speak to: the predictors of a namespace as functions of Nuclio.

    python -m serving.cvat_gateway --namespace segmentor
    python -m serving.cvat_gateway --predictor road=http://127.0.0.1:8080

CVAT is told where by CVAT_SERVERLESS=1, CVAT_NUCLIO_HOST, CVAT_NUCLIO_PORT and
CVAT_NUCLIO_INVOKE_METHOD=dashboard. The protocol knows no authentication: a NetworkPolicy must
admit CVAT alone.
Source: `cvat/apps/lambda_manager/views.py` of CVAT, LambdaGateway and LambdaFunction.
"""

import argparse
import base64
import binascii
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import fastapi
import numpy as np
import pydantic
import uvicorn
from fastapi.responses import JSONResponse

from segmentor.cvat.shapes import (
    LEAST_PIXELS,
    MOST_SHAPES,
    Component,
    bitmap_of,
    components_of,
    labelled_classes,
    polygons_of,
)
from segmentor.errors import DataError, PredictorError
from segmentor.model import RemoteModel
from serving.logs import configure_logging

logger = logging.getLogger(__name__)

# Where CVAT expects the dashboard of Nuclio.
PORT = 8070
# Name of each model -> address of its predictor.
Addresses = Callable[[], Mapping[str, str]]


class Invocation(pydantic.BaseModel):
    """An image to annotate; CVAT sends a threshold only if its user has set one."""

    image: str
    threshold: float | None = pydantic.Field(default=None, ge=0, le=1)


def build_gateway(addresses: Addresses) -> fastapi.FastAPI:
    """Build the application of three routes.

    Args:
        addresses: Asked at each listing, so that a new model needs no restart.
    """
    gateway = fastapi.FastAPI(title="Segmentor's gateway for CVAT", openapi_url=None)

    @gateway.get("/api/functions")
    def functions() -> dict[str, Any]:
        """List the models that answer."""
        found = {}
        for name, url in addresses().items():
            try:
                found[name] = _describe(name, RemoteModel(url, name))
            except PredictorError as error:
                logger.warning("function name=%s left_out=%s", name, error)
        return found

    @gateway.get("/api/functions/{name}")
    def function(name: str) -> dict[str, Any]:
        """Describe one model."""
        return _describe(name, _open(addresses(), name))

    @gateway.post("/api/function_invocations")
    def invoke(
        invocation: Invocation,
        name: Annotated[str, fastapi.Header(alias="x-nuclio-function-name")],
    ) -> list[dict[str, Any]]:
        """Predict an image and return its components."""
        try:
            content = base64.b64decode(invocation.image, validate=True)
        except binascii.Error as error:
            raise DataError("image", f"not base64 ({error})") from error
        model = _open(addresses(), name)
        prediction = model.predict(content)
        components = components_of(
            prediction.mask,
            prediction.confidence,
            labelled_classes(model.label_map),
            LEAST_PIXELS,
            MOST_SHAPES,
        )
        names, size = model.label_map.names, prediction.mask.shape
        threshold = invocation.threshold or 0.0
        return [
            _annotation(component, names[component.class_index], size)
            for component in components
            if component.score >= threshold
        ]

    @gateway.exception_handler(DataError)
    def refuse(_: fastapi.Request, error: DataError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @gateway.exception_handler(PredictorError)
    def away(_: fastapi.Request, error: PredictorError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503)

    return gateway


def _open(addresses: Mapping[str, str], name: str) -> RemoteModel:
    if name not in addresses:
        raise fastapi.HTTPException(404, f"no model '{name}', but {', '.join(addresses) or 'none'}")
    return RemoteModel(addresses[name], name)


def _describe(name: str, model: RemoteModel) -> dict[str, Any]:
    labels = [
        {"id": index, "name": model.label_map.names[index], "type": "mask"}
        for index in labelled_classes(model.label_map)
    ]
    return {
        "metadata": {
            "name": name,
            "annotations": {
                "name": f"{name} (Segmentor)",
                "type": "detector",
                "framework": "onnx",
                "spec": json.dumps(labels),
            },
        },
        "spec": {"description": f"Segmentor's model {name}, {model.digest[:19]}"},
        "status": {"state": "ready", "httpPort": PORT},
    }


def _annotation(component: Component, label: str, size: tuple[int, ...]) -> dict[str, Any]:
    """Return a component as CVAT reads it: a flat bitmap of its box, and its outline."""
    left, top, right, bottom = component.points[-4:]
    bitmap = bitmap_of(component, size)
    box = bitmap[top : bottom + 1, left : right + 1].astype(np.uint8)
    outline = max(polygons_of(bitmap), key=len, default=[])
    annotation = {
        "label": label,
        "type": "mask",
        "mask": [*box.ravel().tolist(), left, top, right, bottom],
        "confidence": f"{component.score:.4f}",
        "attributes": [],
    }
    # CVAT uses the outline if its user wants polygons, and the mask where no outline is sent.
    return annotation | ({"points": outline} if outline else {})


def services_of(namespace: str) -> Addresses:
    """Return a function that lists the InferenceServices of a namespace that are ready."""
    from kubernetes import client, config

    config.load_incluster_config()
    api = client.CustomObjectsApi()

    def addresses() -> Mapping[str, str]:
        listed = api.list_namespaced_custom_object(
            "serving.kserve.io", "v1beta1", namespace, "inferenceservices"
        )
        return addresses_in(listed["items"])

    return addresses


def addresses_in(services: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the addresses inside the cluster of the InferenceServices that are ready."""
    found = {}
    for service in services:
        status = service.get("status", {})
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in status.get("conditions", ())
        )
        if ready:
            metadata = service["metadata"]
            own = f"http://{metadata['name']}-predictor.{metadata['namespace']}.svc"
            found[metadata["name"]] = status.get("address", {}).get("url", own)
    return found


def _predictor(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"'{text}', expected NAME=http://host:port")
    return name, url


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.cvat_gateway",
        description="Offer served models to CVAT's AI tools.",
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--namespace", help="offer the InferenceServices of this namespace")
    source.add_argument(
        "--predictor",
        action="append",
        type=_predictor,
        metavar="NAME=URL",
        help="offer the model NAME of a predictor; may be repeated",
    )
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on")
    parser.add_argument("--port", type=int, default=PORT, help="the port of HTTP")
    options = parser.parse_args(arguments)
    configure_logging("INFO")
    if options.namespace:
        addresses = services_of(options.namespace)
    else:
        given = dict(options.predictor)
        addresses = given.copy
    uvicorn.run(build_gateway(addresses), host=options.host, port=options.port, log_config=None)


if __name__ == "__main__":
    main()
