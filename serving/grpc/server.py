"""The gRPC server: its limits, and the outermost layer of every call."""

import asyncio
import logging
import time
from typing import Any

import grpc
from grpc import StatusCode, aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_interceptor.server import AsyncServerInterceptor
from grpc_reflection.v1alpha import reflection
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    add_GRPCInferenceServiceServicer_to_server,
)

from segmentor.errors import ConfigError
from serving import logs
from serving.grpc.service import SegmentationServicer
from serving.kserve_model import FixedRepository
from serving.metrics import REQUEST_SECONDS, REQUESTS
from serving.refusals import Refusal

logger = logging.getLogger(__name__)

SERVICE: str = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
# Spare calls for health and metadata, and for refusals while the queue is full.
_SPARE_CALLS = 16


class GrpcServer:
    """KServe's service, grpc.health.v1 and reflection on one port."""

    def __init__(self, repository: FixedRepository) -> None:
        limits = repository.model.limits
        self._server = aio.server(
            interceptors=(_Door(repository.model.served.identity),),
            maximum_concurrent_rpcs=limits.workers + limits.queue_limit + _SPARE_CALLS,
            options=[
                ("grpc.max_receive_message_length", limits.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                # Identity alone: the limit above does not hold for what gzip expands to.
                ("grpc.compression_enabled_algorithms_bitset", 1),
                ("grpc.so_reuseport", 0),  # else two servers share a port, and calls get lost
            ],
        )
        servicer = SegmentationServicer(repository)
        add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        # Bytes in, bytes out: the model's threads parse and serialise, not the event loop.
        infer = grpc.unary_unary_rpc_method_handler(servicer.ModelInfer)
        self._server.add_registered_method_handlers(SERVICE, {"ModelInfer": infer})
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, port: int) -> None:
        """Start serving.

        Raises:
            ConfigError: the port is taken.
        """
        try:
            self._server.add_insecure_port(f"[::]:{port}")
        except RuntimeError as error:
            raise ConfigError(
                f"grpc_port {port}", "in use", "a free port", "choose another --grpc_port"
            ) from error
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Accept no more calls, and give up those that are not done in time."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


class _Door(AsyncServerInterceptor):
    """The outermost layer of gRPC: request id, identity, log line, metrics, last handler."""

    def __init__(self, identity: dict[str, str]) -> None:
        self.identity = tuple(identity.items())

    async def intercept(
        self, method: Any, request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        """Handle one call."""
        given = dict(context.invocation_metadata()).get("x-request-id", "")
        identifier = logs.new_request_id(str(given).encode())
        token = logs.request_id.set(identifier)
        context.set_trailing_metadata((*self.identity, ("x-request-id", identifier)))
        started, status, message = time.perf_counter(), StatusCode.OK, ""
        try:
            reply = method(request_or_iterator, context)
            return reply if hasattr(reply, "__aiter__") else await reply  # reflection streams
        except asyncio.CancelledError:  # the client's deadline, or it hung up
            status = StatusCode.CANCELLED
            raise
        except Refusal as refusal:
            status, message = StatusCode[refusal.grpc_status], str(refusal)
        except aio.AbortError:  # grpc.health.v1 aborts calls that name another service
            status = StatusCode.NOT_FOUND
            raise
        except Exception:  # the last handler
            logger.exception("unexpected error", extra={"method": method_name})
            status, message = StatusCode.INTERNAL, f"internal error; request id {identifier}"
        finally:
            _account(method_name, status, time.perf_counter() - started)
            logs.request_id.reset(token)
        await context.abort(status, message)


def _account(method_name: str, status: grpc.StatusCode, elapsed_s: float) -> None:
    name = method_name.rpartition("/")[2]
    route = f"grpc {name}"
    REQUESTS.labels(route, status.name).inc()
    if status is StatusCode.OK:
        REQUEST_SECONDS.labels(route).observe(elapsed_s)
    is_probe = name in ("ServerLive", "ServerReady", "ModelReady", "Check")
    logger.log(
        logging.DEBUG if is_probe and status is StatusCode.OK else logging.INFO,
        "request",
        extra={"route": route, "status": status.name, "elapsed_ms": round(elapsed_s * 1000, 1)},
    )
