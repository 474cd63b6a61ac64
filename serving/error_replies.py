"""Errors as HTTP replies: JSON with the message and the request id, whatever went wrong."""

from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from kserve.errors import ModelNotReady, ServerNotReady
from starlette.exceptions import HTTPException

from serving import logs
from serving.refusals import RETRY_AFTER_SECONDS, NotReady, Refusal


def add_error_replies(app: FastAPI) -> None:
    """Has an application answer every error in our form."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    for error in (ModelNotReady, ServerNotReady):
        app.add_exception_handler(error, _not_ready)
    app.add_exception_handler(Exception, _internal_error)


def error_reply(path: str, status: int, message: str) -> Response:
    """An error as JSON; on the original's route also with its `status` of "100"."""
    body = {"error": message, "request_id": logs.request_id.get()}
    if path == "/predict":
        body = {"status": "100", "message": message, **body}
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


async def _refused(request: Request, error: Any) -> Response:
    return error_reply(request.url.path, error.status, str(error))


async def _http_error(request: Request, error: Any) -> Response:
    reply = error_reply(request.url.path, error.status_code, str(error.detail))
    reply.headers.update(error.headers or {})
    return reply


async def _invalid_parameter(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return error_reply(request.url.path, 400, f"{where}: {first['msg']}")


async def _not_ready(request: Request, error: Any) -> Response:
    return error_reply(request.url.path, NotReady.status, str(error))


async def _internal_error(request: Request, error: Any) -> Response:
    """Says nothing of the error: RequestDoor logs it under the same request id."""
    return error_reply(request.url.path, 500, "internal error")
