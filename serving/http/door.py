"""The outermost layer of HTTP: request id, identity headers, log line, metrics, last handler.

It is plain ASGI around the application, because Starlette raises an unexpected exception again
after its own reply, and uvicorn would then drop the connection under the client's next request.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import logs
from serving.metrics import REQUEST_SECONDS, REQUESTS
from serving.refusals import RETRY_AFTER_SECONDS, NotReady

logger = logging.getLogger(__name__)

# Successful probes, KServe's among them, and scrapes are logged at DEBUG alone.
_QUIET = (
    "/",
    "/metrics",
    "/v1/models/{model_name}",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model_name}/ready",
    "/v2/models/{model_name}/versions/{model_version}/ready",
)
CLIENT_CLOSED = 499


def error_reply(path: str, status: int, message: str) -> Response:
    """Make an error reply as JSON; on `/predict` it also has the seed's `status` of "100"."""
    body = {"error": message, "request_id": logs.request_id.get()}
    if path == "/predict":
        body = {"status": "100", "message": message, **body}
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


class Door:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, identity: Mapping[str, str]) -> None:
        """Wrap an application.

        Args:
            app: The application.
            identity: Headers of every reply that name the model.
        """
        self.app = app
        self.headers = [(name.encode(), text.encode()) for name, text in identity.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identifier = logs.new_request_id(dict(scope["headers"]).get(b"x-request-id"))
        token = logs.request_id.set(identifier)
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [*self.headers, (b"x-request-id", identifier.encode())]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # uvicorn's, at the end of the grace period
            if status == 0:
                reply = error_reply(
                    scope["path"], NotReady.status, "the server is stopping; try again"
                )
                await reply(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = CLIENT_CLOSED
        except Exception:  # the last handler: the application has replied already
            logger.exception("unexpected error", extra={"path": scope["path"]})
        finally:
            _account(scope, status, time.perf_counter() - started)
            logs.request_id.reset(token)


def _account(scope: Scope, status: int, elapsed_s: float) -> None:
    # The template, not the path: clients could fill the memory with labels.
    route = getattr(scope.get("route"), "path", "unknown")
    REQUESTS.labels(route, str(status)).inc()
    if status < 400:
        REQUEST_SECONDS.labels(route).observe(elapsed_s)
    logger.log(
        logging.DEBUG if route in _QUIET and status == 200 else logging.INFO,
        "request",
        extra={
            "method": scope["method"],
            "route": route,
            "status": status,
            "elapsed_ms": round(elapsed_s * 1000, 1),
            # A dual-stack socket shows IPv4 clients with this prefix.
            "client": (scope.get("client") or ("",))[0].removeprefix("::ffff:"),
        },
    )
