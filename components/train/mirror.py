"""A copy of the running state in an object store, for a step that is retried on another machine."""

import logging
import time
from pathlib import Path

from components.train.running_state import BEST, STATE
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore, ObjectUri

logger = logging.getLogger(__name__)


class Mirror:
    """Keeps `<prefix>/<fingerprint>/` up to date, no more often than asked."""

    def __init__(self, prefix: str, fingerprint: str, folder: Path, seconds: float) -> None:
        """Connects to the store of the environment.

        Raises:
            StoreError: no such URI, or no endpoint is configured.
        """
        self._uri = ObjectUri.parse(prefix).child(fingerprint.removeprefix("sha256:")[:16])
        self._store = ObjectStore.from_environment()
        self._folder = folder
        self._seconds = seconds
        self._last = 0.0

    def download(self) -> bool:
        """Fetches the state if there is one; the best weights first, as they were written."""
        if not self._store.exists(self._uri.child(STATE)):
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in (BEST, STATE):
            if self._store.exists(self._uri.child(name)):
                self._store.download(self._uri.child(name), self._folder / name)
        logger.info("mirror downloaded uri=%s", self._uri)
        return True

    def after_save(self, is_last: bool) -> None:
        """Uploads if it is time to; a store that is away is no reason to stop training.

        Args:
            is_last: The process is about to end: now or never.
        """
        now = time.monotonic()
        if self._last and now - self._last < self._seconds and not is_last:
            return
        try:
            for name in (BEST, STATE):
                if (self._folder / name).is_file():
                    self._store.upload_file(self._folder / name, self._uri.child(name))
            self._last = now
        except StoreError as error:
            logger.warning("mirror failed: %s", error)
