"""The outermost layer of HTTP: request id, identity headers, log line, metrics, and the last catch.

It is plain ASGI and stands around the application: an exception that reached Starlette's own last
catch would be raised again, and uvicorn would drop the connection under the client's next request.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import logs
from serving.error_replies import error_reply
from serving.metrics import REQUEST_SECONDS, REQUESTS
from serving.refusals import NotReady

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
# The probes (KServe's own among them) and the metrics page would drown the requests in the log.
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


def new_request_id(given: bytes | None) -> str:
    """Returns the client's request id when it is harmless, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return uuid.uuid4().hex


class RequestDoor:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        """Wraps an application.

        Args:
            app: What is wrapped.
            headers: Put on every reply: the identity of the model.
        """
        self.app = app
        self.headers = [(name.lower().encode(), text.encode()) for name, text in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identifier = new_request_id(dict(scope["headers"]).get(b"x-request-id"))
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
        except Exception:  # one of the two doors where everything ends
            # The application has replied (`internal_error`) before Starlette raised it again.
            logger.exception("unexpected error", extra={"path": scope["path"]})
        finally:
            _account(scope, status, time.perf_counter() - started)
            logs.request_id.reset(token)


def _account(scope: Scope, status: int, elapsed_s: float) -> None:
    # The template, not the path: a path in a label would let clients fill the memory.
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
            # As IPv4 clients look to a socket for both.
            "client": (scope.get("client") or ("",))[0].removeprefix("::ffff:"),
        },
    )
