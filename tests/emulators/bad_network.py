"""An HTTP proxy on loopback between a client and a real server, which fails as networks fail.

Stands for load balancers, login gateways, restarting servers and broken lines in front of any HTTP
server; its replies are those of RFC 9110, S3's API reference and oauth2-proxy 7, as of 2026-11.
"""

import contextlib
import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.loopback_servers import Handler, running

SLOW_DOWN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: dict[str, str] = {"Content-Type": "text/html"}


LOGIN = Answer(302, b'<a href="/dex/auth">Found</a>', {"Location": "/dex/auth?rd=x"})


class BadNetwork(ThreadingHTTPServer):
    """Forwards requests; `troubles` are used up, one a request, before anything is forwarded.

    Troubles: a status (`503`), `reset`, `silent` (accepted, never answered), `cut` (half of the
    body arrives), `wrong` (other bytes arrive, of an object), `slow` (after half a second), `lost`
    (the server acts, its reply is lost), `error in 200` (S3's late failure), '' (none), or an
    Answer. Requests without the headers that it `demands` are sent to a login page.
    Each reply takes `delay` seconds more.
    """

    def __init__(self, target: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.target = urlsplit(target)
        self.only = ""  # a pattern: troubles are for requests whose line has it
        self.troubles: list[str | Answer] = []
        self.demands: dict[str, str] = {}
        self.delay = 0.0
        self.requests: list[str] = []
        self.ended = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def bad_network(target: str, port: int = 0) -> Iterator[BadNetwork]:
    with BadNetwork(target, port) as server, running(server):
        try:
            yield server
        finally:
            server.ended.set()


class _Handler(Handler):
    server: BadNetwork

    def answer(self) -> None:
        body = self.body()
        self.server.requests.append(f"{self.command} {self.path}")
        trouble: str | Answer = ""
        if self.server.troubles and re.search(self.server.only, self.requestline):
            trouble = self.server.troubles.pop(0)
        if any(self.headers[name] != value for name, value in self.server.demands.items()):
            trouble = LOGIN
        if isinstance(trouble, Answer):
            return self.pass_on(trouble.status, dict(trouble.headers), trouble.body)
        if trouble.isdigit():
            return self.pass_on(int(trouble), {"Content-Type": "application/xml"}, SLOW_DOWN)
        if trouble == "error in 200":
            return self.pass_on(200, {"Content-Type": "application/xml"}, SLOW_DOWN)
        if trouble == "reset":
            return self.reset()
        if trouble == "silent":
            self.server.ended.wait()
            return self.reset()
        target = self.server.target
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
        # As a proxy does: the server behind it is asked for a path alone.
        path = self.path if self.path.startswith("/") else "/" + self.path.split("/", 3)[3]
        connection.request(self.command, path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        time.sleep(self.server.delay)
        if trouble == "lost":
            return self.reset()
        if trouble == "slow":
            self.server.ended.wait(0.5)
        if trouble == "wrong" and "xml" not in (answer.getheader("Content-Type") or ""):
            content = bytes(byte ^ 0x20 for byte in content)
        kept = {k: v for k, v in answer.getheaders() if k.lower() != "transfer-encoding"}
        self.pass_on(answer.status, kept, content, cut=trouble == "cut")

    def pass_on(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = headers.pop("Content-Length", None) if self.command == "HEAD" else None
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.reset()

    def reset(self) -> None:
        """End the connection by RST, as a process that dies does."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
