"""A copy of the running state in an object store, for a step that is retried on another machine."""

import logging
import time
from pathlib import Path

from components.train.state.running_state import BEST, STATE
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.training_mirror import FINISHED, finished_text

logger = logging.getLogger(__name__)


class Mirror:
    """Keeps a copy of the running folder up to date, no more often than asked."""

    def __init__(self, uri: ObjectUri, folder: Path, seconds: float) -> None:
        """Connect to the store of the environment.

        Raises:
            StoreError: no endpoint is configured.
        """
        self._uri = uri
        self._store = ObjectStore.from_environment()
        self._folder = folder
        self._seconds = seconds
        self._last = 0.0

    def download(self) -> bool:
        """Fetch the state if there is one; the best weights first, as they were written."""
        if not self._store.exists(self._uri.child(STATE)):
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in (BEST, STATE):
            if self._store.exists(self._uri.child(name)):
                self._store.download(self._uri.child(name), self._folder / name)
        logger.info("mirror downloaded uri=%s", self._uri)
        return True

    def after_save(self, is_last: bool) -> None:
        """Upload if it is time to; a store that is away is no reason to stop training.

        Args:
            is_last: The process is about to end: now or never.
        """
        if self._last and time.monotonic() - self._last < self._seconds and not is_last:
            return
        try:
            self._store.ensure_bucket(self._uri.bucket)
            for name in (BEST, STATE):
                if (self._folder / name).is_file():
                    self._store.upload_file(self._folder / name, self._uri.child(name))
        except StoreError as error:
            logger.warning("mirror failed: %s", error)
        # Also after a failure: training must not wait for a dead store after every epoch.
        self._last = time.monotonic()

    def finish(self, checkpoint_digest: str) -> None:
        """Write which checkpoint the training ended with, so that deploy can remove the copy."""
        try:
            self._store.write(self._uri.child(FINISHED), finished_text(checkpoint_digest))
        except StoreError as error:
            logger.warning("mirror failed: %s", error)
