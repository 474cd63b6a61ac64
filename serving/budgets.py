"""Limits on the bytes of all requests, or of all replies, that are in memory at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from serving.metrics import REFUSED
from serving.refusals import Busy

# The last quarter is reserved for small bodies, so that a few large uploads cannot block them.
SMALL_BYTES = 1 << 20


class ByteBudget:
    """A limit on bytes, counted as they arrive: a slow client holds only what it has sent."""

    def __init__(self, limit: int, name: str) -> None:
        self.limit = limit
        self.name = name
        self.held = 0

    @contextmanager
    def share(self) -> Iterator["ByteShare"]:
        """Return the share of one request; it is released when the block ends."""
        share = ByteShare(self)
        try:
            yield share
        finally:
            share.release()


class ByteShare:
    """The part of a budget that one request, or one reply, holds."""

    def __init__(self, budget: ByteBudget) -> None:
        self.held = 0
        self._budget = budget

    def add(self, count: int) -> None:
        """Count bytes that have arrived.

        Raises:
            Busy: together with those of all others they exceed the limit.
        """
        budget = self._budget
        limit = budget.limit if self.held + count <= SMALL_BYTES else budget.limit * 3 // 4
        if budget.held + count > limit:
            REFUSED.labels(f"bytes of {budget.name}").inc()
            raise Busy(f"busy: {budget.held:,} bytes of {budget.name} are in memory; try again")
        self.held += count
        budget.held += count

    def release(self) -> None:
        """Give the bytes back once they are no longer in memory."""
        self._budget.held -= self.held
        self.held = 0
