"""The predictor's process: both ports, one event loop, and draining on SIGTERM."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn

from segmentor.errors import ConfigError
from serving.engines.loading import ServedModel
from serving.grpc.server import GrpcServer
from serving.http.application import build_application
from serving.kserve_model import FixedRepository, SegmentationModel
from serving.metrics import MODEL
from serving.settings import Settings

logger = logging.getLogger(__name__)

# After the grace period: time to tell clients that their work was given up.
_LAST_WORDS_S = 1.0
_MAX_HEADER_BYTES = 1 << 16


class PredictorServer:
    """Serves one model over HTTP and gRPC until it is told to stop, then drains.

    KServe's ModelServer is not used: it drains gRPC only after HTTP, answers 500 to what is left
    at the end of the grace period, and parses the process's own command line.
    """

    def __init__(self, served: ServedModel, settings: Settings) -> None:
        self.settings = settings
        self.model = SegmentationModel(served, settings.limits)
        self.admission = self.model.admission
        self.repository = FixedRepository(self.model)

    def serve(self) -> None:
        """Open the ports and serve until SIGTERM or SIGINT.

        Raises:
            ConfigError: a port is taken.
        """
        with _bound(self.settings.http_port) as listener:
            served = self.model.served
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
        grpc_server = None
        if self.settings.grpc_port is not None:
            grpc_server = GrpcServer(self.repository)
            await grpc_server.start(self.settings.grpc_port)
        http_server = _HttpServer(self._http_config())
        draining = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, self._stop, http_server, draining)
        # The objects of start-up live as long as the process: never scan them again.
        gc.collect()
        gc.freeze()
        ports = {"http_port": self.settings.http_port, "grpc_port": self.settings.grpc_port}
        logger.info("ready", extra=ports)
        drained = asyncio.create_task(self._drain(grpc_server, draining))
        await http_server.serve(sockets=[listener])
        # Requests that uvicorn has cancelled tell their clients so.
        if http_server.server_state.tasks:
            await asyncio.wait(http_server.server_state.tasks, timeout=_LAST_WORDS_S)
        await drained
        self.admission.close()
        logger.info("stopped")

    async def _drain(self, grpc_server: GrpcServer | None, draining: asyncio.Event) -> None:
        """Drain gRPC while uvicorn drains HTTP; after the grace period give up on both."""
        await draining.wait()
        grace_s = self.settings.grace_period_s
        asyncio.get_running_loop().call_later(grace_s, self.admission.close)
        if grpc_server is not None:
            await grpc_server.stop(grace_s + _LAST_WORDS_S)

    def _stop(self, http_server: uvicorn.Server, draining: asyncio.Event) -> None:
        """Accept nothing new and answer what is in flight; on a second signal give up at once."""
        at_once = draining.is_set()
        if at_once:
            http_server.force_exit = True
            self.admission.close()
        http_server.should_exit = True
        draining.set()
        logger.info("stopping", extra={"at_once": at_once})

    def _http_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            build_application(self.repository),
            # Not httptools: it accepts headers of any length, and drops the body of a request that
            # offers h2c, as the first one of Java's client does.
            http="h11",
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # they would only change the client's address in the log
            timeout_keep_alive=self.settings.keep_alive_s,
            timeout_graceful_shutdown=int(self.settings.grace_period_s + _LAST_WORDS_S),
        )


class _HttpServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us: uvicorn raises them again when it is done, in mid-drain."""
        yield


@contextlib.contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    """Bind first, so that a port in use is one clear line."""
    # asyncio disables Nagle's algorithm only if the socket names its protocol: a reply in two parts
    # would wait 40 ms for the client's delayed acknowledgement.
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
