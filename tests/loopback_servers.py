"""HTTP servers on loopback, in a thread of the tests."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Handles every method by `answer`; keeps connections open and logs nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: it would add 40 ms to each

    def answer(self) -> None:
        raise NotImplementedError

    def _dispatch(self) -> None:
        self.answer()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _dispatch  # noqa: N815

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send bytes and text as they are, and anything else as JSON."""
        kinds = {bytes: "application/octet-stream", str: "text/plain"}
        text = value if isinstance(value, str | bytes) else json.dumps(value)
        content = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        own = {"Content-Type": kinds.get(type(value), "application/json"), **(headers or {})}
        for name, given in {**own, "Content-Length": str(len(content))}.items():
            self.send_header(name, given)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class RefusedError(Exception):
    """The request is answered with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@contextlib.contextmanager
def serving(handler: Any) -> Iterator[str]:
    """Serve on a free port; yield the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, running(server):
        yield f"http://127.0.0.1:{server.server_port}"


@contextlib.contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """Run a server in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
