"""Large replies go out piece by piece: a client that reads none of it holds memory, for a while.

Sent whole, a reply would lie in the connection's buffer for as long as the client likes, hundreds
of megabytes for each such client.
"""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.body_budget import BodyBudget, BodyShare

LARGE_BYTES = 1 << 20
# Three quarters of it are for large replies: one of the largest, 256 MiB, and some others.
REPLY_BUDGET = 7 << 26
_PIECE_BYTES = 1 << 18
# What a client has to read at least, once the time limit of its request is over.
_BYTES_A_SECOND = 1 << 20


def paced(reply: Response, replies: BodyBudget, time_limit_s: float) -> Response:
    """Returns a reply as it is, or, when it is large, one that counts until it is sent.

    Raises:
        Busy: there are too many large replies that nobody has read yet.
    """
    if len(reply.body) <= LARGE_BYTES:
        return reply
    share = BodyShare(replies)
    share.add(len(reply.body))
    return _PacedReply(reply, share, time_limit_s + len(reply.body) / _BYTES_A_SECOND)


class _PacedReply(Response):
    def __init__(self, reply: Response, share: BodyShare, time_limit_s: float) -> None:
        super().__init__(reply.body, reply.status_code)
        self.raw_headers = reply.raw_headers
        self._share = share
        self._time_limit_s = time_limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, status = memoryview(self.body), self.status_code
        try:
            async with asyncio.timeout(self._time_limit_s):
                await send(
                    {"type": "http.response.start", "status": status, "headers": self.raw_headers}
                )
                for start in range(0, len(body), _PIECE_BYTES):
                    end = start + _PIECE_BYTES
                    piece = {"body": body[start:end], "more_body": end < len(body)}
                    await send({"type": "http.response.body", **piece})
        except TimeoutError as error:
            raise ClientDisconnect from error  # uvicorn closes what is left unfinished
        finally:
            self._share.release()
