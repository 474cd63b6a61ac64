"""The HTTP application: predicting routes, KServe's health and metadata routes, error replies."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from kserve.protocol.rest.v1_endpoints import V1Endpoints
from kserve.protocol.rest.v2_datamodels import (
    ListModelsResponse,
    ModelMetadataResponse,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from kserve.protocol.rest.v2_endpoints import V2Endpoints
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from segmentor import __version__
from serving.error_replies import add_error_replies
from serving.model import FixedRepository, HonestDataPlane
from serving.openapi import add_docs
from serving.request_door import RequestDoor
from serving.routes import PredictRoutes, predict_router
from serving.served_model import ServedModel
from serving.settings import Limits


class _ModelMetadata(ModelMetadataResponse):
    """KServe's reply, and what else there is to know: digest, engine, classes, threshold."""

    parameters: dict[str, Any]


def build_application(
    dataplane: HonestDataPlane, repository: FixedRepository, served: ServedModel, limits: Limits
) -> RequestDoor:
    """Assembles the application.

    KServe's own application is not used: its middleware logs each request four times, its last
    catch leaks exception texts, and its routes parse bodies before anything can refuse them.
    """
    app = FastAPI(
        title="Segmentor predictor",
        version=__version__,
        description=f"Semantic segmentation by model `{served.name}`.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # its Location has the scheme and host of behind the gateway
    )
    app.include_router(predict_router(PredictRoutes(dataplane, limits)))
    app.include_router(_open_inference_router(dataplane, repository))
    add_error_replies(app)
    add_docs(app, served)
    identity = {
        "X-Segmentor-Model": served.name,
        "X-Segmentor-Version": served.version,
        "X-Segmentor-Digest": served.digest,
        "X-Segmentor-Engine": served.engine,
    }
    return RequestDoor(app, identity)


def _metrics(request: Request) -> Response:
    """Not `async`: FastAPI runs it in a thread, for of many classes it takes some 0.1 s."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"Content-Type": media_type})


def _open_inference_router(dataplane: HonestDataPlane, repository: FixedRepository) -> APIRouter:
    """KServe's own handlers for everything that does not predict."""
    v1, v2 = V1Endpoints(dataplane, repository), V2Endpoints(dataplane, repository)
    router = APIRouter()
    model, versioned = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"

    def get(path: str, handler: Any, reply: Any = None, tag: str = "V2") -> None:
        router.add_api_route(path, handler, methods=["GET"], response_model=reply, tags=[tag])
        router.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)

    # KServe's own answer 501 to every version, also to one in the query.
    async def latest_metadata(model_name: str) -> Any:
        return await dataplane.model_metadata(model_name)

    async def latest_ready(model_name: str) -> Any:
        return await v2.model_ready(model_name)

    async def metadata(model_name: str, model_version: str) -> Any:
        dataplane.check_version(model_name, model_version)
        return await dataplane.model_metadata(model_name)

    async def ready(model_name: str, model_version: str) -> Any:
        dataplane.check_version(model_name, model_version)
        return await v2.model_ready(model_name)

    get("/", dataplane.live, tag="health")
    get("/metrics", _metrics, tag="health")
    get("/v1/models", v1.models, tag="V1")
    get("/v1/models/{model_name}", v1.model_ready, tag="V1")
    get("/v2", v2.metadata, ServerMetadataResponse)
    get("/v2/health/live", v2.live, ServerLiveResponse)
    get("/v2/health/ready", v2.ready, ServerReadyResponse)
    get("/v2/models", v2.models, ListModelsResponse)
    get(model, latest_metadata, _ModelMetadata)
    get(f"{model}/ready", latest_ready, ModelReadyResponse)
    get(versioned, metadata, _ModelMetadata)
    get(f"{versioned}/ready", ready, ModelReadyResponse)
    for verb, handler in (("load", v2.load), ("unload", v2.unload)):
        path = "/v2/repository/models/{model_name}/" + verb
        router.add_api_route(path, handler, methods=["POST"], tags=["V2"])
    return router
