"""The one policy for trying network requests again, used for the object store and the cluster.

    urllib3.PoolManager(timeout=attempt_timeout(), retries=NetworkRetry.from_environment())

Refused and reset connections, timeouts, 429 and 5xx are tried again, for five minutes in a pod and
for half a minute elsewhere. Errors that another attempt cannot change fail at once. A signal
handler that raises ends the waiting.
"""

import http.client
import logging
import math
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import urllib3
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import (
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)
from urllib3.response import BaseHTTPResponse

logger = logging.getLogger(__name__)
# Our own line says more: which server, why, and how long it will be tried.
logging.getLogger("urllib3.connectionpool").addFilter(
    lambda record: not str(record.msg).startswith("Retrying (")
)

POD_SECONDS = 300.0
LAPTOP_SECONDS = 30.0
# How long a server may be silent. On a laptop this leaves time for a single attempt.
POD_SILENCE_SECONDS = 30.0
LAPTOP_SILENCE_SECONDS = 25.0
CONNECT_SECONDS = 5.0
# The first wait, and at most this much more at random; it doubles each time.
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0

# All that may pass; 501 and 505 say that the server never will.
STATUSES = frozenset({429, *range(500, 600)} - {501, 505})
# What gateways and busy servers reply with; 500 is left out, for servers that mean a refusal by it.
BUSY_STATUSES = frozenset({429, 502, 503, 504})

# When each failure was logged last.
_logged: dict[str, tuple[float, int]] = {}
_logging = threading.Lock()

T = TypeVar("T")


def is_in_pod(environment: Mapping[str, str] = os.environ) -> bool:
    """Return True inside a pod of a Kubernetes cluster."""
    return bool(environment.get("KUBERNETES_SERVICE_HOST"))


def attempt_timeout(environment: Mapping[str, str] = os.environ) -> urllib3.Timeout:
    """Return how long one attempt may take to connect, and then wait for data."""
    silence = POD_SILENCE_SECONDS if is_in_pod(environment) else LAPTOP_SILENCE_SECONDS
    return urllib3.Timeout(connect=CONNECT_SECONDS, read=silence)


class NetworkRetry(urllib3.Retry):
    """Limits retries by time; urllib3 only counts them."""

    in_pod = False
    # A connection that is refused means that no server was started.
    ends_when_refused = False
    # When the request gives up: set by its first failure, and handed on by `new`.
    deadline: float | None = None
    failure = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Create the policy for this process, which runs in a pod or on a laptop."""
        policy = cls(
            total=None,
            redirect=3,
            # Includes POST and PATCH: every request of ours can be repeated.
            allowed_methods=None,
            status_forcelist=STATUSES,
            raise_on_status=False,
            backoff_factor=FIRST_WAIT_SECONDS,
            backoff_max=LONGEST_WAIT_SECONDS,
            backoff_jitter=FIRST_WAIT_SECONDS,
            retry_after_max=int(LONGEST_WAIT_SECONDS),
        )
        policy.in_pod = is_in_pod(environment)
        return policy

    @property
    def seconds(self) -> float:
        """How long a request is tried again."""
        return POD_SECONDS if self.in_pod else LAPTOP_SECONDS

    def call(self, where: str, operation: Callable[[], T]) -> T:
        """Run an operation again when the body of a response breaks off.

        urllib3 retries a request only until its response begins.
        """
        retry = self
        while True:
            try:
                return operation()
            except (ProtocolError, ReadTimeoutError) as error:
                retry = retry.increment("GET", where, error=error)
                retry.sleep()

    def new(self, **changes: Any) -> Self:
        """Return a copy, with the same deadline."""
        copy = super().new(**changes)
        copy.in_pod, copy.deadline = self.in_pod, self.deadline
        copy.ends_when_refused = self.ends_when_refused
        return copy

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Return the policy of the next attempt.

        Raises:
            MaxRetryError: the time is over, or another attempt would fail in the same way.
        """
        retry = super().increment(method, url, response, error, _pool, _stacktrace)
        if response is not None and response.get_redirect_location():
            return retry
        # The next attempt may have to wait in silence for as long as this one did.
        cost = 0.0
        if isinstance(error, ReadTimeoutError):
            cost = POD_SILENCE_SECONDS if self.in_pod else LAPTOP_SILENCE_SECONDS
        now = time.monotonic()
        if retry.deadline is None:
            retry.deadline = now - cost + self.seconds
        if now + cost >= retry.deadline or not self._can_pass(error):
            status = response.status if response is not None else 0
            reason = error or ResponseError(f"HTTP {status}")
            raise MaxRetryError(_pool, url, reason) from reason  # type: ignore[arg-type]
        server = f"{_pool.host}:{_pool.port}" if _pool is not None else url
        cause = failure_name(error) if response is None else f"HTTP {response.status}"
        retry.failure = f"server={server} failure={cause}"
        return retry

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        """Wait before the next attempt, and log it unless another thread just did."""
        left = (self.deadline or 0.0) - time.monotonic()
        asked = self.get_retry_after(response) if response is not None else None
        wait = min(asked or self.get_backoff_time(), left)
        if wait > 0:
            if _is_news(self.failure):
                waiting = "waiting %s wait_s=%.1f gives_up_in_s=%.0f"
                logger.warning(waiting, self.failure, wait, left)
            time.sleep(wait)

    def _can_pass(self, error: Exception | None) -> bool:
        if isinstance(error, NameResolutionError):
            return self.in_pod  # a pod's DNS may start later than the pod
        if isinstance(error, NewConnectionError):
            return not self.ends_when_refused
        cause = _cause(error)
        if isinstance(error, SSLError):
            return isinstance(cause, ssl.SSLEOFError)  # reset during the handshake
        # The server does not speak HTTP.
        return isinstance(cause, ConnectionError) or not isinstance(
            cause, http.client.BadStatusLine
        )


def _is_news(failure: str) -> bool:
    """Return whether no other thread has just logged it: many may wait for one server."""
    now, thread = time.monotonic(), threading.get_ident()
    with _logging:
        logged, by = _logged.get(failure, (-math.inf, thread))
        is_news = by == thread or now >= logged + LONGEST_WAIT_SECONDS
        if is_news:
            _logged[failure] = now, thread
    return is_news


def failure_name(error: BaseException | None) -> str:
    """Return the name of what went wrong, without urllib3's wrappers."""
    return type(_cause(error)).__name__


def _cause(error: BaseException | None) -> BaseException | None:
    if isinstance(error, MaxRetryError):
        error = error.reason
    if isinstance(error, (ProtocolError, SSLError)):
        return next((item for item in error.args if isinstance(item, BaseException)), error)
    return error
