"""The reasons for refusing a request, each with its HTTP and its gRPC status.

    Refusal
      BadInput      400  INVALID_ARGUMENT    the body, a header or a parameter is wrong
      NotFound      404  NOT_FOUND           another model, another version
      Fixed         403  PERMISSION_DENIED   load and unload: the model is fixed at start
      TooSlow       408  DEADLINE_EXCEEDED   the body did not arrive in time
      TooLarge      413  RESOURCE_EXHAUSTED  more bytes, pixels or images than allowed
      Encoded       415  INVALID_ARGUMENT    the body is compressed as a whole
      Busy          503  RESOURCE_EXHAUSTED  the queue is full: come back
      TimedOut      503  DEADLINE_EXCEEDED   no result within the time limit: come back
      NotReady      503  UNAVAILABLE         the model is not loaded, or the server is stopping

The message is for the client: what was found and what was expected, without internals.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from segmentor.errors import ImageError, ImageSizeError

RETRY_AFTER_SECONDS = 1


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is answered with an error for the client."""

    status = 400
    grpc_status = "INVALID_ARGUMENT"


class BadInput(Refusal):
    """The body, a header or a parameter is wrong."""


class NotFound(Refusal):
    """There is no such model or version here."""

    status = 404
    grpc_status = "NOT_FOUND"


class Fixed(Refusal):
    """The model cannot be loaded or unloaded by a request."""

    status = 403
    grpc_status = "PERMISSION_DENIED"


class TooSlow(Refusal):
    """The body did not arrive within the time limit."""

    status = 408
    grpc_status = "DEADLINE_EXCEEDED"


class TooLarge(Refusal):
    """More bytes or pixels than one request may have."""

    status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class Encoded(Refusal):
    """The body is compressed as a whole: images are compressed already."""

    status = 415


class Busy(Refusal):
    """The queue is full: if more requests waited, all would time out."""

    status = 503
    grpc_status = "RESOURCE_EXHAUSTED"


class TimedOut(Refusal):
    """No result within the time limit."""

    status = 503
    grpc_status = "DEADLINE_EXCEEDED"


class NotReady(Refusal):
    """The model is not loaded, or the server is stopping."""

    status = 503
    grpc_status = "UNAVAILABLE"


@contextmanager
def image_refusals() -> Iterator[None]:
    """Turn the library's ImageError, whose message is for people, into a refusal."""
    try:
        yield
    except ImageSizeError as error:
        raise TooLarge(str(error)) from error
    except ImageError as error:
        raise BadInput(str(error)) from error
