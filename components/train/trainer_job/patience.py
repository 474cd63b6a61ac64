"""How long the launcher waits for the nodes of a TrainJob, and how often it says for what."""

import logging
import time
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    `start`: until all nodes run; queueing does not count. `hopeless`: with an image that cannot be
    pulled. `stall`: without a line from any rank; torch gives up a collective after 1800 s, and the
    set is then started again. `gone`: until the pods of an earlier job are. `ending`: the same on
    the way out, below the 30 s that Kubernetes gives a pod. `poll`: between two looks at the job.
    """

    start: float = 1800.0
    hopeless: float = 300.0
    stall: float = 3600.0
    gone: float = 1800.0
    ending: float = 25.0
    poll: float = 2.0
    report: float = 60.0


class Clock:
    """How long the nodes have been waited for, and when that was last said."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._reported, self._line = 0.0, ""
        self.restart()

    def restart(self) -> None:
        """Begin to wait anew."""
        self._started = time.monotonic()
        self._hopeless_since: float | None = None

    @property
    def waited(self) -> float:
        """Seconds since the nodes were last all there, or none was to be."""
        return time.monotonic() - self._started

    def note_hopeless(self, is_hopeless: bool) -> None:
        """Note whether a pod waits for what will not come by itself."""
        since = self._hopeless_since
        self._hopeless_since = (since or time.monotonic()) if is_hopeless else None

    def is_over(self) -> bool:
        """Return whether the nodes are to be given up."""
        since = self._hopeless_since
        if since is not None and time.monotonic() - since > self._patience.hopeless:
            return True
        return self.waited > self._patience.start

    def report(self, message: str, line: str) -> None:
        """Log what is waited for when it changes, and else once in a while."""
        now = time.monotonic()
        if line != self._line or now - self._reported >= self._patience.report:
            self._reported, self._line = now, line
            logger.info(message, line)
