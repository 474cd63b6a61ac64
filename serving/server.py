"""KServe's ModelServer with an application of ours, ports that are ours, and a real drain."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn
from grpc import aio
from kserve import ModelServer

from segmentor.errors import ConfigError
from serving.admission import Admission
from serving.application import build_application
from serving.body_budget import BodyBudget
from serving.grpc_service import SegmentationServicer, start_grpc
from serving.http_protocol import BoundedHttpProtocol, connection_limits
from serving.metrics import MODEL
from serving.model import FixedRepository, HonestDataPlane, SegmentationModel
from serving.served_model import ServedModel
from serving.settings import Settings

logger = logging.getLogger(__name__)

# To tell clients that their work was given up; then connections are closed.
_LAST_WORDS_S = 1.0
# Longer than a proxy's idle timeout, or a proxy sends a request into a connection that just closed.
_KEEP_ALIVE_S = 65


class PredictorServer(ModelServer):
    """Serves one model over HTTP and gRPC until it is told to stop, then drains."""

    def __init__(self, served: ServedModel, settings: Settings) -> None:
        super().__init__(
            http_port=settings.http_port,
            grpc_port=settings.grpc_port or 0,
            enable_grpc=settings.grpc_port is not None,
            enable_latency_logging=False,
        )
        limits = settings.limits
        self.settings = settings
        self.served = served
        self.admission = Admission(limits.workers, limits.queue_limit, limits.time_limit_s)
        self.model = SegmentationModel(served, self.admission, BodyBudget(limits.body_budget))
        self.dataplane = HonestDataPlane(self.registered_models)
        self.model_repository_extension = FixedRepository(self.registered_models)

    def serve(self) -> None:
        """Opens the ports and serves until SIGTERM or SIGINT.

        Raises:
            ConfigError: a port is taken.
        """
        with _bound(self.http_port) as listener:
            self.register_model(self.model)
            served = self.served
            MODEL.labels(served.name, served.version, served.digest, served.engine).set(1)
            if served.drift is not None:
                served.drift.expose()
            asyncio.run(self._serve(listener))
        if self.admission.is_working():
            # The interpreter would wait for these threads; their clients have been answered.
            logger.warning("stopped before the work was done")
            logging.shutdown()
            os._exit(0)

    async def _serve(self, listener: socket.socket) -> None:
        grpc_server: aio.Server | None = None
        if self.enable_grpc:
            servicer = SegmentationServicer(
                self.dataplane, self.model_repository_extension, self.settings.limits, self.served
            )
            grpc_server = await start_grpc(servicer, self.grpc_port)
        http_server = _HttpServer(self._http_config())
        draining = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, self._stop, http_server, draining)
        # What start-up made stays for good: no collection need ever look at it again.
        gc.collect()
        gc.freeze()
        logger.info("ready", extra={"http_port": self.http_port, "grpc_port": self.grpc_port})
        drained = asyncio.create_task(self._drain(grpc_server, draining))
        await http_server.serve(sockets=[listener])
        # Those that uvicorn has cancelled tell their clients so.
        if http_server.server_state.tasks:
            await asyncio.wait(http_server.server_state.tasks, timeout=_LAST_WORDS_S)
        await drained
        self.admission.close()
        logger.info("stopped")

    async def _drain(self, grpc_server: aio.Server | None, draining: asyncio.Event) -> None:
        """Drains gRPC while uvicorn drains HTTP; after the grace period gives up on both."""
        await draining.wait()
        grace_s = self.settings.grace_period_s
        asyncio.get_running_loop().call_later(grace_s, self.admission.close)
        if grpc_server is not None:
            await grpc_server.stop(grace_s + _LAST_WORDS_S)

    def _stop(self, http_server: uvicorn.Server, draining: asyncio.Event) -> None:
        """Drains: nothing new, what is in flight is answered; a second signal gives up at once."""
        at_once = draining.is_set()
        if at_once:
            http_server.force_exit = True
            self.admission.close()
        http_server.should_exit = True
        draining.set()
        logger.info("stopping", extra={"at_once": at_once})

    def _http_config(self) -> uvicorn.Config:
        BoundedHttpProtocol.most_connections, waiting = connection_limits()
        application = build_application(
            self.dataplane, self.model_repository_extension, self.served, self.settings.limits
        )
        BoundedHttpProtocol.identity = application.headers
        return uvicorn.Config(
            application,
            http=BoundedHttpProtocol,
            log_config=None,
            ws="none",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # they would change the client's address in the log alone
            timeout_keep_alive=_KEEP_ALIVE_S,
            backlog=waiting,
            timeout_graceful_shutdown=int(self.settings.grace_period_s + _LAST_WORDS_S),
        )


class _HttpServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to us: uvicorn raises them again when it is done, in mid-drain."""
        yield


@contextlib.contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    """Binds before anything is served, so that a port that is taken is one clear line."""
    # asyncio switches Nagle's algorithm off only where the socket names its protocol: a reply of
    # two parts would wait 40 ms for the client's delayed acknowledgement.
    has_ipv6 = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if has_ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if has_ipv6:  # one socket for both: some clusters have IPv6 alone
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind(("::" if has_ipv6 else "0.0.0.0", port))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"port {port}",
                getattr(error, "strerror", None) or str(error),
                "a free port",
                "choose another --http_port (with `segmentor serve`: --port)",
            ) from error
        yield listener
