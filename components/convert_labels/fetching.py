"""Brings an export to this machine: a local path stays where it is, an object is downloaded."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from segmentor.errors import DataError


def local_path(source: str) -> Path | None:
    """Returns the path that a source is, None where it is an object's URI or empty."""
    if source.startswith("file://"):
        return Path(unquote(source.removeprefix("file://")))
    return Path(source) if source and "://" not in source else None


@contextlib.contextmanager
def local_copy(source: str, beside: Path) -> Iterator[Path]:
    """Yields a path of the export; what was downloaded is removed at the end.

    Args:
        source: A path, or an `s3://` or `minio://` URI of a zip or of a prefix.
        beside: A folder on the disk that will hold the result: downloads go there, not to /tmp,
            which may be small.

    Raises:
        DataError: another scheme.
        StoreError: nothing at the URI, or the store is away.
    """
    if path := local_path(source):
        yield path
        return
    # The client takes as long to import as all else of this step.
    from segmentor.object_store import ObjectStore, ObjectUri, is_object_uri

    if not is_object_uri(source):
        scheme = source.split("://", 1)[0]
        raise DataError(source, f"scheme '{scheme}'", "a path, s3:// or minio://")
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=beside) as folder:
        target = Path(folder, "export")
        ObjectStore.from_environment().download(ObjectUri.parse(source), target)
        yield target
