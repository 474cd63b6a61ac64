"""uvicorn's HTTP protocol with what it lacks: a limit on headers, in bytes and in seconds.

uvicorn 0.54 with httptools takes a header of any length, for any time, and chunk trailers too.
"""

import asyncio
import re
import uuid
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 1 << 16
# From the first byte of a request to the end of its headers; a new connection may idle as long.
HEAD_SECONDS = 30.0
# Java's client offers h2c with its first request. httptools would end the request there, without
# its body; a server may ignore the offer (RFC 9110, section 7.8).
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. What is neither the end of a head nor a piece of a body uses up a limit."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unfruitful = 0
        self._is_in_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Gives a new connection its time."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what came, and ends the connection when it is only ever more of a head."""
        self._unfruitful += len(data)
        if self._is_in_head and b"pgrade" in data:
            head, blank, body = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"\r\nx-ignored-upgrade:", head) + blank + body
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
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, in our form."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        if self.cycle is None or self.cycle.response_complete:
            body = orjson.dumps({"error": message, "request_id": uuid.uuid4().hex})
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
