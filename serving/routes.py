"""The predicting routes: V1 `:predict`, V2 `infer`, and `/predict`, each a Job for the model."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from serving import logs
from serving.body_budget import BodyShare
from serving.instances import read_instances
from serving.model import HonestDataPlane, Job
from serving.open_inference import read_request, write_reply
from serving.paced_reply import paced
from serving.prediction import Output, Picture, PredictionRequest, predict
from serving.refusals import Busy
from serving.replies import (
    MEDIA_TYPES,
    choose_output,
    describe,
    describe_with,
    encode,
    identity,
    request_for,
)
from serving.request_body import discard_body, read_body, read_upload, while_connected
from serving.served_model import ServedModel
from serving.settings import Limits
from serving.tensors import output_tensors, read_pictures
from serving.threshold import one_threshold

Asked = Annotated[Output | None, Query(description="The form of the reply; else Accept says it.")]
Threshold = Annotated[
    float | None, Query(gt=0, lt=1, description="Binary models: foreground above it.")
]


@dataclass(frozen=True)
class PredictRoutes:
    """The routes that predict, on one data plane and within the same limits."""

    dataplane: HonestDataPlane
    limits: Limits

    async def predict_v1(
        self,
        request: Request,
        model_name: str,
        output: Asked = None,
        threshold: Threshold = None,
    ) -> Response:
        """Predicts the image in the body, or the `instances` of a JSON body."""

        def work(model: ServedModel, body: bytes) -> Response:
            if _is_json(request, body):
                form = choose_output(output, None, "json")
                return self._instances(model, body, form, threshold)
            form = choose_output(output, _accept(request), "mask")
            return self._picture(model, body, form, threshold)

        return await self._answer(request, model_name, read_body, work)

    async def predict_upload(
        self, request: Request, output: Asked = None, threshold: Threshold = None
    ) -> Response:
        """Predicts the image in the multipart field `file`; JSON by default, PNG on request."""
        form = choose_output(output, _accept(request), "json")
        name = next(iter(self.dataplane.model_registry.get_models()))
        return await self._answer(
            request,
            name,
            read_upload,
            lambda model, body: self._picture(model, body, form, threshold),
        )

    async def infer_v2(
        self,
        request: Request,
        model_name: str,
        model_version: str | None = None,
        threshold: Threshold = None,
    ) -> Response:
        """Infers a V2 request: JSON, or JSON followed by binary tensors."""
        self.dataplane.check_version(model_name, model_version or "")
        return await self._answer(
            request,
            model_name,
            read_body,
            lambda model, body: self._tensors(model, body, request, threshold),
        )

    async def _answer(
        self,
        request: Request,
        model_name: str,
        read: Callable[[Request, Limits, BodyShare], Coroutine[Any, Any, bytes]],
        work: Callable[[ServedModel, bytes], Response],
    ) -> Response:
        model = await self.dataplane.get_model(model_name)
        with model.bodies.share() as share:
            try:
                body = await read(request, self.limits, share)
            except Busy as busy:
                busy.with_traceback(None)  # its frames hold what has been read
                share.release()
                await discard_body(request, self.limits)
                raise
            async with while_connected(request), model.admission.place():
                job = Job(lambda served: work(served, body))
                reply = await self.dataplane.do(model_name, job)
        return paced(reply, model.replies, self.limits.time_limit_s)

    def _picture(
        self, model: ServedModel, body: bytes, output: Output, threshold: float | None
    ) -> Response:
        wanted = request_for((body,), output, threshold)
        (prediction,) = predict(model, wanted, self.limits.max_pixels)
        label_map = model.contract.label_map
        if output != "json":
            return Response(encode(prediction, output, label_map), media_type=MEDIA_TYPES[output])
        described = describe(prediction, label_map)
        return _json({"status": "200", **identity(model), **described})

    def _instances(
        self, model: ServedModel, body: bytes, output: Output, threshold: float | None
    ) -> Response:
        asked = read_instances(body)
        threshold = one_threshold(threshold, asked.threshold)
        wanted = request_for(asked.pictures, output, threshold, as_text=True)
        predictions = predict(model, wanted, self.limits.max_pixels)
        label_map = model.contract.label_map
        described = [describe_with(prediction, output, label_map) for prediction in predictions]
        return _json({"predictions": described, **identity(model)})

    def _tensors(
        self, model: ServedModel, body: bytes, request: Request, threshold: float | None
    ) -> Response:
        asked = read_request(body, request.headers)
        pictures: tuple[Picture, ...] = read_pictures(asked.tensors, self.limits.max_pixels)
        wanted = PredictionRequest(
            pictures,
            wants_probability="probability" in asked.outputs,
            threshold=one_threshold(threshold, asked.threshold),
            is_stacked=True,
        )
        predictions = predict(model, wanted, self.limits.max_pixels)
        head = {
            "model_name": model.name,
            "model_version": model.version,
            "id": asked.id or logs.request_id.get(),
            "parameters": {"digest": model.digest, "engine": model.engine},
        }
        outputs = output_tensors(predictions, tuple(asked.outputs))
        content, headers = write_reply(head, outputs, asked.outputs)
        return Response(content, headers=headers)


def predict_router(routes: PredictRoutes) -> APIRouter:
    """Makes the router; the bodies are described by hand, for FastAPI would parse them itself."""
    router = APIRouter()
    router.add_api_route(
        "/v1/models/{model_name}:predict", routes.predict_v1, methods=["POST"], tags=["V1"]
    )
    router.add_api_route("/predict", routes.predict_upload, methods=["POST"], tags=["upload"])
    for path in (
        "/v2/models/{model_name}/infer",
        "/v2/models/{model_name}/versions/{model_version}/infer",
    ):
        router.add_api_route(path, routes.infer_v2, methods=["POST"], tags=["V2"])
    return router


def _accept(request: Request) -> str:
    """Lines of one name are one list (RFC 9110, section 5.3)."""
    return ", ".join(request.headers.getlist("accept"))


def _is_json(request: Request, body: bytes) -> bool:
    """By Content-Type; and what begins with a brace is no image, whatever a client calls it."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return content_type in ("application/json", "text/json") or body[:64].lstrip()[:1] == b"{"


def _json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
