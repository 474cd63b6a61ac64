"""One predicting request over HTTP: read its body within limits, answer it, send the reply."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.budgets import ByteShare
from serving.kserve_model import Decode, SegmentationModel
from serving.refusals import BadInput, Busy, Encoded, TooLarge, TooSlow
from serving.settings import Limits

FIELD = "file"
# Smaller replies are sent whole: they fit into the buffers of a connection.
LARGE_REPLY = 1 << 20
_PIECE_BYTES = 1 << 18
# A client must read its reply at least this fast once the time limit of its request is over.
_BYTES_A_SECOND = 1 << 20

ReadBody = Callable[[Request, Limits, ByteShare], Coroutine[Any, Any, bytes]]


async def answer(
    request: Request, model: SegmentationModel, read: ReadBody, decode: Decode[Response]
) -> Response:
    """Read the body of a request and have the model answer it, unless the client hangs up.

    Raises:
        Refusal: the body cannot be read, or the model refuses it.
        ClientDisconnect: the client has gone; its place in the queue is free again.
    """
    with model.bodies.share() as share:
        try:
            body = await read(request, model.limits, share)
        except Busy as busy:
            busy.with_traceback(None)  # its frames hold what has been read
            share.release()
            await _discard_body(request, model.limits)
            raise
        async with _while_connected(request):
            reply = await model.answer(body, decode)
    if len(reply.body) <= LARGE_REPLY:
        return reply
    share = ByteShare(model.replies)
    share.add(len(reply.body))
    return _LargeReply(reply, share, model.limits.time_limit_s)


async def read_body(request: Request, limits: Limits, share: ByteShare) -> bytes:
    """Read the whole body.

    Raises:
        TooLarge: more bytes than a body may have, announced or received.
        TooSlow: it did not arrive within the time limit.
        Busy: the bodies of all requests together take too much memory.
    """
    async with _within(limits.time_limit_s):
        chunks = [chunk async for chunk in _limited(request, limits.max_body_bytes, share)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_upload(request: Request, limits: Limits, share: ByteShare) -> bytes:
    """Read the multipart field `file`.

    Raises:
        BadInput: not multipart, malformed, or without that file.
        TooLarge, TooSlow, Busy: as for `read_body`.
    """
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise BadInput(
            f"content-type: found '{content_type[:60]}', expected multipart/form-data "
            f"with an image in the field '{FIELD}'"
        )
    chunks = _limited(request, limits.max_body_bytes, share)
    parser = _MemoryParser(request.headers, chunks, max_files=1, max_fields=16)
    try:
        async with _within(limits.time_limit_s):
            form = await parser.parse()
    except MultiPartException as error:
        raise BadInput(f"multipart body: {error.message}") from error
    except (KeyError, UnicodeDecodeError, LookupError) as error:
        raise BadInput("multipart body: no boundary, or an unreadable header") from error
    try:
        upload = form.get(FIELD)
        if isinstance(upload, str):
            raise BadInput(
                f"multipart field '{FIELD}': found text, expected a file with a filename"
            )
        if upload is None:
            names = ", ".join(name[:40] for name in sorted(form)[:5]) or "none"
            raise BadInput(f"multipart fields: found {names}, expected a file named '{FIELD}'")
        return await upload.read()
    finally:
        await form.close()


class _MemoryParser(MultiPartParser):
    # The body has a limit of its own, and a spooled file would need a writable disk.
    spool_max_size = 1 << 40


class _LargeReply(Response):
    """A reply that goes out piece by piece and counts until it is sent.

    Sent whole, it would be copied into the connection's buffer and stay there for as long as the
    client does not read.
    """

    def __init__(self, reply: Response, share: ByteShare, time_limit_s: float) -> None:
        super().__init__(reply.body, reply.status_code)
        self.raw_headers = reply.raw_headers
        self._share = share
        self._time_limit_s = time_limit_s + len(reply.body) / _BYTES_A_SECOND

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
            raise ClientDisconnect from error  # uvicorn closes an unfinished reply
        finally:
            self._share.release()


@asynccontextmanager
async def _while_connected(request: Request) -> AsyncIterator[None]:
    """Cancel the block if the client hangs up; its body must have been read.

    Raises:
        ClientDisconnect: it hung up.
    """
    task, is_gone = asyncio.current_task(), False

    async def watch() -> None:
        nonlocal is_gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        if task is not None:
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError as error:
        if not is_gone:
            raise
        raise ClientDisconnect from error
    finally:
        watcher.cancel()


async def _discard_body(request: Request, limits: Limits) -> None:
    """Read what the client sends without keeping it, so that it gets to read the refusal."""
    async with _within(limits.time_limit_s):
        async for _ in _limited(request, limits.max_body_bytes):
            pass


async def _limited(
    request: Request, max_bytes: int, share: ByteShare | None = None
) -> AsyncGenerator[bytes, None]:
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() not in ("", "identity"):
        raise Encoded(f"content-encoding: found '{coding[:40]}', expected none")
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > max_bytes:
        raise TooLarge(f"a body of {announced[:20]} bytes, at most {max_bytes}")
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(f"a body of more than {max_bytes} bytes")
        if share is not None:
            share.add(len(chunk))
        if chunk:
            yield chunk


@asynccontextmanager
async def _within(time_limit_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(time_limit_s):
            yield
    except TimeoutError as error:
        raise TooSlow(f"the body did not arrive within {time_limit_s:g} s") from error
