"""How many bytes of requests, or of replies, are in memory, all connections together."""

from collections.abc import Iterator
from contextlib import contextmanager

from serving.metrics import REFUSED
from serving.refusals import Busy

# The last quarter is for small bodies: a few large uploads shut nobody else out.
SMALL_BYTES = 1 << 20


class BodyBudget:
    """Counts bytes as they arrive: a client that sends slowly holds what it has sent, no more."""

    def __init__(self, limit: int, name: str = "requests") -> None:
        self.limit = limit
        self.name = name
        self.held = 0

    @contextmanager
    def share(self) -> Iterator["BodyShare"]:
        """The share of one request, given back when the block ends."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            share.release()


class BodyShare:
    """What one request holds of a budget."""

    def __init__(self, budget: BodyBudget) -> None:
        self.held = 0
        self._budget = budget

    def add(self, count: int) -> None:
        """Counts bytes that have arrived.

        Raises:
            Busy: they are too many, with those of all other requests.
        """
        budget = self._budget
        limit = budget.limit if self.held + count <= SMALL_BYTES else budget.limit * 3 // 4
        if budget.held + count > limit:
            REFUSED.labels(f"bytes of {budget.name}").inc()
            raise Busy(f"busy: {budget.held:,} bytes of {budget.name} are in memory; try again")
        self.held += count
        budget.held += count

    def release(self) -> None:
        """Gives back what it holds: the bytes are no longer in memory."""
        self._budget.held -= self.held
        self.held = 0
