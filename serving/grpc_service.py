"""V2 over gRPC: KServe's service, with our inference, our refusals, metrics and log line."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode, aio
from grpc_interceptor.server import AsyncServerInterceptor
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
from kserve.protocol.grpc.servicer import InferenceServicer

from segmentor.errors import ConfigError
from serving import logs
from serving.grpc_messages import infer
from serving.grpc_reading import MessageReader
from serving.metrics import REQUEST_SECONDS, REQUESTS
from serving.model import FixedRepository, HonestDataPlane, Job
from serving.paced_reply import LARGE_BYTES
from serving.refusals import BadInput, Refusal, TimedOut, TooLarge
from serving.request_door import new_request_id
from serving.served_model import ServedModel
from serving.settings import Limits

logger = logging.getLogger(__name__)

# For health and metadata, and for calls that are being told that the queue is full.
_SPARE_CALLS = 16
_MAX_NAMES_BYTES = 1 << 16
_SERVICE = "inference.GRPCInferenceService"


class _StockHandlers:
    """Takes a server's place, to collect what the generated code would register."""

    def __init__(self) -> None:
        self.by_name: dict[str, grpc.RpcMethodHandler] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Takes none: they are the registered ones once more."""

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, grpc.RpcMethodHandler]
    ) -> None:
        """Keeps the handlers."""
        self.by_name.update(handlers)


class SegmentationServicer(InferenceServicer):
    """KServe's servicer for all but ModelInfer, which it would read before anybody counts."""

    def __init__(
        self,
        dataplane: HonestDataPlane,
        repository: FixedRepository,
        limits: Limits,
        served: ServedModel,
    ) -> None:
        super().__init__(dataplane, repository)
        self.dataplane = dataplane
        self.limits = limits
        self.served = served
        self._reader = MessageReader(limits.time_limit_s)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Returns the methods by name, each a stream of one message that it reads by itself."""
        stock = _StockHandlers()
        services.add_GRPCInferenceServiceServicer_to_server(self, stock)
        handlers = {name: self._bounded(handler) for name, handler in stock.by_name.items()}
        # Bytes in, bytes out: parsing and serialising are for worker threads.
        handlers["ModelInfer"] = grpc.stream_stream_rpc_method_handler(self.infer)
        return handlers

    def _bounded(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """KServe's handler of a method whose messages hold a few names."""

        async def call(messages: AsyncIterator[bytes], context: Any) -> Any:
            body = await self._reader.read(messages)
            if len(body) > _MAX_NAMES_BYTES:
                raise TooLarge(f"a message of {len(body):,} bytes, at most {_MAX_NAMES_BYTES:,}")
            try:
                request = handler.request_deserializer(body)
            except DecodeError as error:
                raise BadInput("malformed protobuf") from error
            return await handler.unary_unary(request, context)

        return grpc.stream_unary_rpc_method_handler(
            call, response_serializer=handler.response_serializer
        )

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Tells whether the model is ready; stock, any version is."""
        self.dataplane.check_version(request.name, request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Tells what the model takes and gives; stock, without its version, and of any version."""
        self.dataplane.check_version(request.name, request.version)
        reply = await super().ModelMetadata(request, context)
        reply.versions[:] = [self.served.version]
        return reply

    async def infer(self, messages: AsyncIterator[bytes], context: Any) -> None:
        """Infers one request; message and reply are serialised."""
        model = await self.dataplane.get_model(self.served.name)
        with model.bodies.share() as share:
            body = await self._reader.read(messages)
            share.add(len(body))
            max_pixels, check_version = self.limits.max_pixels, self.dataplane.check_version
            async with model.admission.place():
                job = Job(lambda served: infer(served, body, max_pixels, check_version))
                reply = await self.dataplane.do(self.served.name, job)
        with model.replies.share() as share:
            share.add(len(reply) if len(reply) > LARGE_BYTES else 0)
            try:
                async with asyncio.timeout(self.limits.time_limit_s + len(reply) / LARGE_BYTES):
                    await context.write(reply)
            except TimeoutError as error:
                raise TimedOut("the reply was not read in time") from error


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
        except asyncio.CancelledError:  # the client's deadline, or it hung up
            status = StatusCode.CANCELLED
            raise
        except Refusal as refusal:
            status, message = StatusCode[refusal.grpc_status], str(refusal)
        except Exception:  # one of the two doors where everything ends
            logger.exception("unexpected error", extra={"method": method_name})
            status, message = StatusCode.INTERNAL, f"internal error; request id {identifier}"
        finally:
            _account(method_name, status, time.perf_counter() - started)
            logs.request_id.reset(token)
        await context.abort(status, message)


async def start_grpc(servicer: SegmentationServicer, port: int) -> aio.Server:
    """Starts the gRPC server.

    Raises:
        ConfigError: the port is taken.
    """
    limits = servicer.limits
    server = aio.server(
        interceptors=(GrpcDoor(servicer.served),),
        maximum_concurrent_rpcs=limits.workers + limits.queue_limit + _SPARE_CALLS,
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # Identity alone: the limit above is for what comes, not for what gzip makes of it.
            ("grpc.compression_enabled_algorithms_bitset", 1),
            ("grpc.so_reuseport", 0),  # else two servers share a port, and half the calls get lost
        ],
    )
    server.add_registered_method_handlers(_SERVICE, servicer.handlers())
    try:
        server.add_insecure_port(f"[::]:{port}")
    except RuntimeError as error:
        raise ConfigError(
            f"grpc_port {port}", "in use", "a free port", "choose another --grpc_port"
        ) from error
    await server.start()
    return server


def _account(method_name: str, status: grpc.StatusCode, elapsed_s: float) -> None:
    route = f"grpc {method_name.rpartition('/')[2]}"
    REQUESTS.labels(route, status.name).inc()
    if status is StatusCode.OK:
        REQUEST_SECONDS.labels(route).observe(elapsed_s)
    is_probe = route.endswith(("Live", "Ready")) and status is StatusCode.OK
    logger.log(
        logging.DEBUG if is_probe else logging.INFO,
        "request",
        extra={"route": route, "status": status.name, "elapsed_ms": round(elapsed_s * 1000, 1)},
    )
