"""V2 over gRPC: KServe's service, with our inference, our refusals, metrics and log line."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import grpc
from grpc import StatusCode, aio
from grpc_interceptor.server import AsyncServerInterceptor
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
from kserve.protocol.grpc.servicer import InferenceServicer
from numpy.typing import NDArray

from segmentor.errors import ConfigError
from serving import logs
from serving.json_body import check_values
from serving.metrics import REQUEST_SECONDS, REQUESTS
from serving.model import FixedRepository, HonestDataPlane, Job
from serving.prediction import PredictionRequest, measure_megapixels, predict
from serving.refusals import BadInput, Refusal
from serving.request_door import new_request_id
from serving.served_model import ServedModel
from serving.settings import Limits
from serving.tensors import Tensor, check_output_names, output_tensors, read_pictures

logger = logging.getLogger(__name__)

# For health and metadata, and for calls that are being told that the queue is full.
_SPARE_CALLS = 16

_CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}


class SegmentationServicer(InferenceServicer):
    """KServe's servicer, where ModelInfer reads tensors without copying them into lists."""

    def __init__(
        self, dataplane: HonestDataPlane, repository: FixedRepository, limits: Limits
    ) -> None:
        super().__init__(dataplane, repository)
        self.dataplane = dataplane
        self.limits = limits

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Infers one request."""
        model = await self.dataplane.get_model(request.model_name)
        self.dataplane.check_version(request.model_name, request.model_version)
        async with model.admission.place():
            megapixels = await measure_megapixels(request.raw_input_contents)
            job = Job(lambda served: _infer(served, request, self.limits), megapixels)
            return await self.dataplane.do(request.model_name, job)


class GrpcDoor(AsyncServerInterceptor):
    """The outermost layer of gRPC: request id, identity, log line, metrics, and the last catch."""

    def __init__(self, served: ServedModel) -> None:
        self.identity = (
            ("x-segmentor-model", served.name),
            ("x-segmentor-version", served.version),
            ("x-segmentor-digest", served.digest),
            ("x-segmentor-engine", served.engine),
        )

    async def intercept(
        self, method: Any, request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        """Handles one call."""
        given = dict(context.invocation_metadata()).get("x-request-id", "")
        identifier = new_request_id(str(given).encode())
        token = logs.request_id.set(identifier)
        context.set_trailing_metadata((*self.identity, ("x-request-id", identifier)))
        started, status, message = time.perf_counter(), StatusCode.OK, ""
        try:
            return await method(request_or_iterator, context)
        except Refusal as refusal:
            status, message = StatusCode[refusal.grpc_status], str(refusal)
        except Exception:  # one of the two doors where everything ends
            logger.exception("unexpected error", extra={"method": method_name})
            status, message = StatusCode.INTERNAL, f"internal error; request id {identifier}"
        finally:
            _account(method_name, status, time.perf_counter() - started)
            logs.request_id.reset(token)
        await context.abort(status, message)


async def start_grpc(servicer: SegmentationServicer, port: int, served: ServedModel) -> aio.Server:
    """Starts the gRPC server.

    Raises:
        ConfigError: the port is taken.
    """
    limits = servicer.limits
    server = aio.server(
        interceptors=(GrpcDoor(served),),
        # gRPC reads a message before a call may take its place: this bounds the messages too.
        maximum_concurrent_rpcs=limits.workers + limits.queue_limit + _SPARE_CALLS,
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else two servers share a port, and half the calls get lost
        ],
    )
    services.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(f"[::]:{port}")
    except RuntimeError as error:
        raise ConfigError(
            f"grpc_port {port}", "in use", "a free port", "choose another --grpc_port"
        ) from error
    await server.start()
    return server


def _infer(served: ServedModel, request: Any, limits: Limits) -> Any:
    names = check_output_names([output.name for output in request.outputs])
    pictures = read_pictures(_read_tensors(request), limits.max_pixels)
    wanted = PredictionRequest(pictures, wants_probability="probability" in names)
    predictions = predict(served, wanted, limits.max_pixels)
    reply = messages.ModelInferResponse(
        model_name=served.name, model_version=served.version, id=request.id
    )
    reply.parameters["digest"].string_param = served.digest
    reply.parameters["engine"].string_param = served.engine
    is_raw = bool(request.raw_input_contents)
    for name, datatype, array in output_tensors(predictions, names):
        output = reply.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if is_raw:
            reply.raw_output_contents.append(array.tobytes())
        else:
            _fill_contents(output, datatype, array)
    return reply


def _read_tensors(request: Any) -> list[Tensor]:
    raws: Sequence[bytes] = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise BadInput(f"{len(raws)} raw_input_contents, expected {len(request.inputs)}")
    tensors = []
    for index, item in enumerate(request.inputs):
        datatype, shape = item.datatype.upper(), tuple(item.shape)
        if raws:
            tensors.append(Tensor(item.name, datatype, shape, raw=raws[index]))
        else:
            field = _CONTENTS.get(datatype)
            contents = getattr(item.contents, field) if field else ()
            check_values(len(contents))
            values = list(contents)
            tensors.append(Tensor(item.name, datatype, shape, values=values))
    return tensors


def _fill_contents(output: Any, datatype: str, array: NDArray[Any]) -> None:
    getattr(output.contents, _CONTENTS[datatype]).extend(array.ravel().tolist())


def _account(method_name: str, status: grpc.StatusCode, elapsed_s: float) -> None:
    route = f"grpc {method_name.rpartition('/')[2]}"
    REQUESTS.labels(route, status.name).inc()
    REQUEST_SECONDS.labels(route).observe(elapsed_s)
    if route.endswith(("Live", "Ready")) and status is StatusCode.OK:
        return
    logger.info(
        "request",
        extra={"route": route, "status": status.name, "elapsed_ms": round(elapsed_s * 1000, 1)},
    )
