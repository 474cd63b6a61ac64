"""Admission: a bounded queue before a few worker threads, and a time limit for each request.

Without it an overloaded server accepts everything and answers nothing in time.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from segmentor.plurals import counted
from serving.engines.sharing import at_work
from serving.metrics import IN_FLIGHT, QUEUED, REFUSED
from serving.refusals import Busy, NotReady, TimedOut

T = TypeVar("T")

# A photograph of 100 megapixels takes minutes in tiles (U-Net with ResNet-34, two busy CPUs: 3.4 s
# a megapixel); a request of ordinary size gets no extra time.
FREE_MEGAPIXELS = 4
SECONDS_A_MEGAPIXEL = 5

_worker = threading.local()


class LargeRequest(Exception):  # noqa: N818 - a message to Admission, not a fault
    """Raised by work that turns out to be large; it is repeated in the thread for large work."""

    def __init__(self, megapixels: float) -> None:
        super().__init__(f"{megapixels:g} megapixels")
        self.megapixels = megapixels


def give_way(megapixels: float) -> None:
    """Leave this thread to small requests; call it as soon as the images are known to be large.

    Raises:
        LargeRequest: this thread is for small requests.
    """
    if getattr(_worker, "is_for_small", False):
        raise LargeRequest(megapixels)


class Admission:
    """A place in the queue, then a worker thread. One instance a process, used on its event loop.

    Large requests, known by the headers of their images, share one thread of their own: no small
    request waits behind them, and two at once would take twice the memory without being faster.

    A request holds its place until its work is done. If its client is gone or got a timeout, it
    leaves the queue; work that has begun holds its place, because a thread cannot be stopped.
    """

    def __init__(self, workers: int, queue_limit: int, time_limit_s: float) -> None:
        self.places = workers + queue_limit
        self.time_limit_s = time_limit_s
        self._taken = 0
        self._abandoned = 0
        self._large = 0
        # Large requests could hold all places for minutes.
        self._large_places = max(1, self.places // 4)
        self._is_closed = False
        self._jobs: dict[Future[Any], asyncio.Future[Any]] = {}
        self._pool = ThreadPoolExecutor(workers, "predict", _serve_small)
        self._large_pool = ThreadPoolExecutor(1, "predict-large")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the queue while the block runs.

        Raises:
            Busy: no place is free.
        """
        if self._taken + self._abandoned >= self.places:
            REFUSED.labels("busy").inc()
            served = counted(self.places, "request is", "requests are")
            raise Busy(f"busy: {served} being served; try again")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a worker thread; call it within `place`.

        Work that calls `give_way` starts again in the thread for large requests, with more time.

        Raises:
            Busy: too many large requests are waiting.
            TimedOut: no result within the time limit.
            NotReady: the server is stopping.
        """
        started = time.monotonic()
        try:
            return await self._run_in(self._pool, work, started, self.time_limit_s)
        except LargeRequest as large:
            more = SECONDS_A_MEGAPIXEL * max(0.0, large.megapixels - FREE_MEGAPIXELS)
        if self._large >= self._large_places:
            REFUSED.labels("busy").inc()
            raise Busy(
                f"busy: {counted(self._large, 'request')} with large images waiting; try again"
            )
        self._large += 1
        try:
            return await self._run_in(self._large_pool, work, started, self.time_limit_s + more)
        finally:
            self._large -= 1

    def close(self) -> None:
        """Accept no more work, drop what has not begun, and answer all that wait with NotReady."""
        self._is_closed = True
        for pool in (self._pool, self._large_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        for future in list(self._jobs.values()):
            future.cancel()

    def is_working(self) -> bool:
        """Return True while a thread is working: it cannot be stopped."""
        return any(job.running() for job in list(self._jobs))

    async def _run_in(
        self, pool: ThreadPoolExecutor, work: Callable[[], T], started: float, limit_s: float
    ) -> T:
        try:
            # The context carries the request id to the thread's log lines.
            context = contextvars.copy_context()
            job = pool.submit(context.run, _timed, work, started + limit_s)
        except RuntimeError as error:  # the pool takes nothing after close()
            raise NotReady("the server is stopping") from error
        QUEUED.inc()
        future = asyncio.wrap_future(job)
        self._jobs[job] = future
        job.add_done_callback(self._done)
        try:
            left_s = started + limit_s - time.monotonic()
            return await asyncio.wait_for(asyncio.shield(future), left_s)
        except TimeoutError as error:
            self._abandon(job, future)
            REFUSED.labels("time limit").inc()
            raise TimedOut(f"no result within {limit_s:g} s; try again") from error
        except asyncio.CancelledError as error:
            self._abandon(job, future)
            if self._is_closed:
                raise NotReady("the server is stopping; try again") from error
            raise  # a gRPC client's deadline, or it hung up

    def _done(self, job: "Future[Any]") -> None:
        self._jobs.pop(job, None)

    def _abandon(self, job: "Future[T]", future: "asyncio.Future[T]") -> None:
        if job.cancelled() or job.cancel():
            QUEUED.dec()
            return
        self._abandoned += 1
        future.add_done_callback(self._forget)

    def _forget(self, future: "asyncio.Future[T]") -> None:
        self._abandoned -= 1
        if not future.cancelled():
            future.exception()  # retrieve it, or asyncio logs that nobody did


def _serve_small() -> None:
    _worker.is_for_small = True


def _timed(work: Callable[[], T], deadline: float) -> T:
    QUEUED.dec()
    if time.monotonic() > deadline:
        raise TimedOut("waited longer than the time limit")
    with IN_FLIGHT.track_inprogress(), at_work():
        return work()
