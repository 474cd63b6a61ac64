"""Reading a request's body within a limit of bytes and of time, and never onto a disk."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.refusals import BadInput, TooLarge, TooSlow

FIELD = "file"


class _MemoryParser(MultiPartParser):
    # The body has a limit of its own; a spooled file would need a writable disk, and be slower.
    spool_max_size = 1 << 40


async def read_body(request: Request, max_bytes: int, time_limit_s: float) -> bytes:
    """Reads the whole body.

    Raises:
        TooLarge: more than `max_bytes`, announced or found.
        TooSlow: it did not arrive within the time limit.
    """
    async with _within(time_limit_s):
        chunks = [chunk async for chunk in _limited(request, max_bytes)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_upload(request: Request, max_bytes: int, time_limit_s: float) -> bytes:
    """Reads the multipart field `file`.

    Raises:
        BadInput: not multipart, malformed, or no such file.
        TooLarge: more than `max_bytes`.
        TooSlow: it did not arrive within the time limit.
    """
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise BadInput(
            f"content-type: found '{content_type[:60]}', expected multipart/form-data "
            f"with an image in the field '{FIELD}'"
        )
    parser = _MemoryParser(
        request.headers, _limited(request, max_bytes), max_files=1, max_fields=16
    )
    try:
        async with _within(time_limit_s):
            form = await parser.parse()
    except MultiPartException as error:
        raise BadInput(f"multipart body: {error.message}") from error
    except (KeyError, UnicodeDecodeError, LookupError) as error:
        raise BadInput("multipart body: no boundary, or an unreadable header") from error
    try:
        upload = form.get(FIELD)
        if not isinstance(upload, UploadFile):
            names = ", ".join(name[:40] for name in sorted(form)[:5]) or "none"
            raise BadInput(f"multipart fields: found {names}, expected a file named '{FIELD}'")
        return await upload.read()
    finally:
        await form.close()


async def discard_body(request: Request, max_bytes: int, time_limit_s: float) -> None:
    """Reads what the client sends and keeps nothing, so that it gets to read the refusal."""
    async with _within(time_limit_s):
        async for _ in _limited(request, max_bytes):
            pass


async def _limited(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > max_bytes:
        raise TooLarge(f"a body of {announced[:20]} bytes, at most {max_bytes}")
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(f"a body of more than {max_bytes} bytes")
        if chunk:
            yield chunk


@asynccontextmanager
async def _within(time_limit_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(time_limit_s):
            yield
    except TimeoutError as error:
        raise TooSlow(f"the body did not arrive within {time_limit_s:g} s") from error
