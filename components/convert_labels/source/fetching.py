"""Brings an export to this machine: a local path stays where it is, an object is downloaded."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from segmentor.errors import DataError


def local_path(source: str) -> Path | None:
    """Return the path that a source is, None where it is an object's URI or empty."""
    if source.startswith("file://"):
        return Path(unquote(source.removeprefix("file://")))
    return Path(source) if source and "://" not in source else None


@dataclass(frozen=True)
class LocalCopy:
    """What was fetched: a path, and what the source says about itself for the provenance."""

    path: Path
    provenance: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def local_copy(source: str, beside: Path) -> Iterator[LocalCopy]:
    """Yield an export on this machine; what was downloaded is removed at the end.

    Args:
        source: A path, an `s3://` or `minio://` URI of a zip or of a prefix, or a `cvat://`
            address.
        beside: A folder on the disk that will hold the result: downloads go there, not to /tmp,
            which may be small.

    Raises:
        DataError: another scheme.
        StoreError: nothing at the URI, or the store is away.
        CvatError: the CVAT server is away, or refuses.
    """
    if path := local_path(source):
        yield LocalCopy(path)
        return
    # Importing the client takes as long as the rest of this step.
    from segmentor.cvat.address import CvatUri, is_cvat_uri
    from segmentor.object_store import ObjectStore
    from segmentor.object_uri import ObjectUri, is_object_uri

    if not is_object_uri(source) and not is_cvat_uri(source):
        scheme = source.split("://", 1)[0]
        raise DataError(source, f"scheme '{scheme}'", "a path, s3://, minio:// or cvat://")
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=beside) as folder:
        target = Path(folder, "export")
        if is_object_uri(source):
            ObjectStore.from_environment().download(ObjectUri.parse(source), target)
            yield LocalCopy(target)
            return
        from segmentor.cvat.pull import pull
        from segmentor.cvat.server import CvatServer

        uri = CvatUri.parse(source)
        with CvatServer.of(uri) as server:
            state = pull(server, uri, target)
        yield LocalCopy(target, {"cvat": {**asdict(state), "server": uri.server}})
