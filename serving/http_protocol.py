"""uvicorn's HTTP protocol with what it lacks: limits on headers and on connections.

uvicorn 0.54 with httptools takes a header of any length, for any time, and chunk trailers too; and
it accepts until the process has no file descriptor left, when it answers nobody any more.
"""

import asyncio
import logging
import re
import resource
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving import logs
from serving.metrics import REQUESTS

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 1 << 16
# From the first byte of a request to the end of its headers; a new connection may idle as long.
HEAD_SECONDS = 30.0
# An idle one takes some 15 KB.
MOST_CONNECTIONS = 4096
# Connections that are accepted at once, before any other can be closed in their favour.
MOST_AT_ONCE = 256
# Java's client offers h2c with its first request. httptools would end the request there, without
# its body; a server may ignore the offer (RFC 9110, section 7.8).
_UPGRADE = re.compile(rb"\nupgrade[ \t]*:", re.IGNORECASE)
_UNDECIDED = re.compile(rb"\r|u(p(g(r(a(d(e[ \t]*)?)?)?)?)?)?", re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\n\r?\n")


def connection_limits() -> tuple[int, int]:
    """How many connections there may be, and how many may wait to be accepted.

    Half of the file descriptors at most, after as many as may be had are taken: gRPC, the model and
    the event loop have theirs. Those that wait are accepted for some rounds of the event loop
    before the first of them is known here.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    descriptors = wanted if soft == resource.RLIM_INFINITY else soft
    return min(MOST_CONNECTIONS, descriptors // 2), max(1, min(MOST_AT_ONCE, descriptors // 32))


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. What is neither the end of a head nor a piece of a body uses up a limit."""

    most_connections = MOST_CONNECTIONS
    # Headers of what is refused here, before the application hears of it: the model's identity.
    identity: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unfruitful = 0
        self._is_in_head = True
        self._idle_since = 0.0
        self._head_timer: asyncio.TimerHandle | None = None
        # The beginning of a header line that may turn out to be Upgrade.
        self._held = b""
        self._begins_line = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Gives a new connection its time, and its place: that of the one that idles longest."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._start_head_timer()
        if len(self.connections) <= self.most_connections:
            return
        others = (one for one in self.connections if isinstance(one, BoundedHttpProtocol))
        idle = [one for one in others if one is not self and one._is_idle()]
        if idle:
            min(idle, key=lambda one: one._idle_since).transport.abort()
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what came, and ends the connection when it is only ever more of a head."""
        self._unfruitful += len(data)
        if self._is_in_head:
            data = self._without_upgrade(data)
        if data:
            super().data_received(data)
        if self._unfruitful > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"headers of more than {MAX_HEAD_BYTES} bytes",
            )

    def on_message_begin(self) -> None:
        """Gives a head its time."""
        super().on_message_begin()
        self._start_head_timer()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._unfruitful = 0
        self._is_in_head = False
        self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is there; its own limits are the application's."""
        self._unfruitful = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there; what follows is the next."""
        self._unfruitful = 0
        self._is_in_head = True
        self._begins_line = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A reply is sent; from now on the connection idles."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, in our form."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _is_idle(self) -> bool:
        if self.transport.is_closing():
            return False
        return self._is_in_head and (self.cycle is None or self.cycle.response_complete)

    def _without_upgrade(self, data: bytes) -> bytes:
        """Renames the header Upgrade in what is there of a head.

        A piece may end anywhere: what may become this header's name, or the blank line after which
        nothing is a header any more, is held back until the next piece.
        """
        before = b"\n" if self._begins_line or self._held else b""
        text = before + self._held + data
        self._held = b""
        blank = _BLANK_LINE.search(text)
        end = blank.start() if blank else len(text)
        text = _UPGRADE.sub(b"\nx-ignored-upgrade:", text[:end]) + text[end:]
        if blank is None:
            start = text.rfind(b"\n") + 1
            if start and _UNDECIDED.fullmatch(text, start):
                text, self._held = text[:start], text[start:]
            self._begins_line = text.endswith(b"\n")
        return text[len(before) :]

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._reply(status, message, uuid.uuid4().hex)
        self.transport.close()

    def _reply(self, status: HTTPStatus, message: str, identifier: str) -> None:
        body = orjson.dumps({"error": message, "request_id": identifier})
        headers = [
            *self.identity,
            (b"x-request-id", identifier.encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        head += [name + b": " + text for name, text in headers]
        self.transport.write(b"\r\n".join([*head, b"", body]))
        REQUESTS.labels("unknown", str(status.value)).inc()
        client = (self.client or ("",))[0].removeprefix("::ffff:")
        token = logs.request_id.set(identifier)
        facts = {"route": "unknown", "status": status.value, "error": message, "client": client}
        logger.info("request", extra=facts)
        logs.request_id.reset(token)

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
