"""Reading a request's body within a limit of bytes and of time, and never onto a disk."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serving.body_budget import BodyShare
from serving.refusals import BadInput, Encoded, TooLarge, TooSlow
from serving.settings import Limits

FIELD = "file"


class _MemoryParser(MultiPartParser):
    # The body has a limit of its own; a spooled file would need a writable disk, and be slower.
    spool_max_size = 1 << 40


async def read_body(request: Request, limits: Limits, share: BodyShare) -> bytes:
    """Reads the whole body.

    Raises:
        TooLarge: more bytes than a body may have, announced or found.
        TooSlow: it did not arrive within the time limit.
        Busy: more bytes than there is room for beside other requests' bodies.
    """
    async with _within(limits.time_limit_s):
        chunks = [chunk async for chunk in _limited(request, limits.max_body_bytes, share)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_upload(request: Request, limits: Limits, share: BodyShare) -> bytes:
    """Reads the multipart field `file`.

    Raises:
        BadInput: not multipart, malformed, or no such file.
        TooLarge, TooSlow, Busy: as of `read_body`.
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


@asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[None]:
    """Cancels what runs in the block when the client goes, once its body has been read.

    Raises:
        ClientDisconnect: it has gone.
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


async def discard_body(request: Request, limits: Limits) -> None:
    """Reads what the client sends and keeps nothing, so that it gets to read the refusal."""
    async with _within(limits.time_limit_s):
        async for _ in _limited(request, limits.max_body_bytes):
            pass


async def _limited(
    request: Request, max_bytes: int, share: BodyShare | None = None
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
