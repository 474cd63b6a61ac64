"""The HTTP application: routes that predict, health and metadata, metrics, and error replies."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from kserve.protocol.rest.v2_datamodels import (
    ListModelsResponse,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException

from segmentor import __version__
from serving.http.door import Door, error_reply
from serving.http.openapi import add_docs
from serving.http.v1 import v1_router
from serving.http.v2 import v2_router
from serving.kserve_model import FixedRepository, ModelMetadata
from serving.refusals import Refusal


def build_application(repository: FixedRepository) -> Door:
    """Build the application.

    KServe's own application is not used: its middleware logs each request four times, its last
    exception handler leaks exception texts, and its routes parse bodies before any limit applies.
    """
    served = repository.model.served
    app = FastAPI(
        title="Segmentor predictor",
        version=__version__,
        description=f"Semantic segmentation by model `{served.name}`.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # its Location would name the host behind the gateway
    )
    app.include_router(v1_router(repository))
    app.include_router(v2_router(repository))
    app.include_router(_metadata_router(repository))
    for error, handler in (
        (Refusal, _refused),
        (HTTPException, _http_error),
        (RequestValidationError, _invalid_parameter),
        (Exception, _internal_error),
    ):
        app.add_exception_handler(error, handler)
    add_docs(app, served)
    return Door(app, served.identity)


def _metadata_router(repository: FixedRepository) -> APIRouter:
    """Build KServe's health and metadata routes of V1 and V2, and `/metrics`."""
    router = APIRouter()
    names = list(repository.get_models())

    def get(path: str, handler: Any, reply: Any = None, tag: str = "V2") -> None:
        router.add_api_route(path, handler, methods=["GET"], response_model=reply, tags=[tag])
        router.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)

    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    async def v1_models() -> dict[str, list[str]]:
        return {"models": names}

    async def v1_model_ready(model_name: str) -> dict[str, Any]:
        await repository.find_ready(model_name)
        return {"name": model_name, "ready": True}

    async def server_metadata() -> ServerMetadataResponse:
        return ServerMetadataResponse(**repository.server_metadata())

    async def server_live() -> ServerLiveResponse:
        return ServerLiveResponse(live=True)

    async def server_ready() -> ServerReadyResponse:
        await repository.find_ready(repository.model.name)
        return ServerReadyResponse(ready=True)

    async def models() -> ListModelsResponse:
        return ListModelsResponse(models=names)

    async def metadata(model_name: str, model_version: str = "") -> ModelMetadata:
        return repository.find(model_name, model_version).metadata()

    async def latest_metadata(model_name: str) -> ModelMetadata:
        return await metadata(model_name)

    async def model_ready(model_name: str, model_version: str = "") -> ModelReadyResponse:
        await repository.find_ready(model_name, model_version)
        return ModelReadyResponse(name=model_name, ready=True)

    async def latest_ready(model_name: str) -> ModelReadyResponse:
        return await model_ready(model_name)

    async def load(model_name: str) -> None:
        repository.load(model_name)

    async def unload(model_name: str) -> None:
        repository.unload(model_name)

    model, versioned = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"
    get("/", alive, tag="health")
    get("/metrics", _metrics, tag="health")
    get("/v1/models", v1_models, tag="V1")
    get("/v1/models/{model_name}", v1_model_ready, tag="V1")
    get("/v2", server_metadata, ServerMetadataResponse)
    get("/v2/health/live", server_live, ServerLiveResponse)
    get("/v2/health/ready", server_ready, ServerReadyResponse)
    get("/v2/models", models, ListModelsResponse)
    get(model, latest_metadata, ModelMetadata)
    get(f"{model}/ready", latest_ready, ModelReadyResponse)
    get(versioned, metadata, ModelMetadata)
    get(f"{versioned}/ready", model_ready, ModelReadyResponse)
    router.post("/v2/repository/models/{model_name}/load", tags=["V2"])(load)
    router.post("/v2/repository/models/{model_name}/unload", tags=["V2"])(unload)
    return router


def _metrics(request: Request) -> Response:
    """Expose the metrics; not `async`, because with many classes it takes about 0.1 s."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"Content-Type": media_type})


async def _refused(request: Request, error: Any) -> Response:
    return error_reply(request.url.path, error.status, str(error))


async def _http_error(request: Request, error: Any) -> Response:
    reply = error_reply(request.url.path, error.status_code, str(error.detail))
    reply.headers.update(error.headers or {})
    return reply


async def _invalid_parameter(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return error_reply(request.url.path, 400, f"{where}: {first['msg']}")


async def _internal_error(request: Request, error: Any) -> Response:
    """Reply without details: the door logs them under the same request id."""
    return error_reply(request.url.path, 500, "internal error")
