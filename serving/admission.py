"""Who may come in: a bounded queue before a few worker threads, and a time limit for each request.

Without it a server accepts everything under overload and answers nothing in time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from serving.metrics import IN_FLIGHT, QUEUED, REFUSED
from serving.refusals import Busy, NotReady, TimedOut

T = TypeVar("T")

# A photograph of 100 megapixels takes minutes in tiles; a request of usual size never may.
LARGE_MEGAPIXELS = 4
SECONDS_A_MEGAPIXEL = 2


class Admission:
    """A place in the queue, then a worker thread. One instance a process, used on its event loop.

    A place is held from before the body is read until the work is done, so that the number of
    bodies and images in memory is bounded too. Work whose client is gone or got a timeout is
    taken from the queue; what has begun holds its place until its thread is free, because a
    thread cannot be stopped.
    """

    def __init__(self, workers: int, queue_limit: int, time_limit_s: float) -> None:
        self.places = workers + queue_limit
        self.time_limit_s = time_limit_s
        self._taken = 0
        self._abandoned = 0
        self._pool = ThreadPoolExecutor(workers, "predict")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Takes a place in the queue for as long as the block runs.

        Raises:
            Busy: there is none.
        """
        if self._taken + self._abandoned >= self.places:
            REFUSED.labels("busy").inc()
            raise Busy(f"busy: {self.places} requests are being served; try again")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(self, work: Callable[[], T], megapixels: float = 0) -> T:
        """Runs `work` in a worker thread; to be called within `place`.

        Args:
            work: What to do.
            megapixels: Of the image, when it is known to be large: it is allowed more time.

        Raises:
            TimedOut: no result within the time limit.
            NotReady: the server is stopping.
        """
        limit_s = self.time_limit_s + SECONDS_A_MEGAPIXEL * max(0, megapixels - LARGE_MEGAPIXELS)
        deadline = time.monotonic() + limit_s
        try:
            job = self._pool.submit(_timed, work, deadline)
        except RuntimeError as error:  # the pool takes nothing after close()
            raise NotReady("the server is stopping") from error
        QUEUED.inc()
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.wait_for(asyncio.shield(future), limit_s)
        except TimeoutError as error:
            self._abandon(job, future)
            REFUSED.labels("time limit").inc()
            raise TimedOut(f"no result within {limit_s:g} s; try again") from error
        except asyncio.CancelledError:  # a gRPC client's deadline, or it hung up
            self._abandon(job, future)
            raise

    def close(self) -> None:
        """Takes no more work, and forgets what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _abandon(self, job: "Future[T]", future: "asyncio.Future[T]") -> None:
        if job.cancel():
            QUEUED.dec()
            return
        self._abandoned += 1
        future.add_done_callback(self._forget)

    def _forget(self, future: "asyncio.Future[T]") -> None:
        self._abandoned -= 1
        if not future.cancelled():
            future.exception()  # looked at, or asyncio complains that nobody did


def _timed(work: Callable[[], T], deadline: float) -> T:
    QUEUED.dec()
    if time.monotonic() > deadline:
        raise TimedOut("waited longer than the time limit")
    with IN_FLIGHT.track_inprogress():
        return work()
