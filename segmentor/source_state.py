"""What a source is today: another text means that its content may have changed.

check_deployment, which KFP never caches, reports it, and convert_labels takes it as an input. So
KFP's cache returns an earlier data set as long as the source is the same, and only then.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from segmentor.digests import digest_json


def source_state(locations: Mapping[str, str]) -> str:
    """Return a digest of what several locations hold today.

    Args:
        locations: By name: a path, an `s3://`, `minio://` or `cvat://` address, or nothing.

    Raises:
        StoreError: there is no object at an address, or the store is away.
        CvatError: the CVAT server is away, or refuses.
    """
    return digest_json({name: _state_of(location) for name, location in locations.items()})


def path_state(path: Path) -> str:
    """Return a fingerprint of a file or folder, from names, sizes and times as make does."""
    if not path.is_dir():
        return _stamp(path) if path.exists() else "missing"
    files = (entry for entry in path.rglob("*") if entry.is_file())
    return digest_json(sorted([str(file.relative_to(path)), _stamp(file)] for file in files))


def _state_of(location: str) -> str:
    if not location:
        return ""
    if location.startswith("file://"):
        return path_state(Path(unquote(location.removeprefix("file://"))))
    if "://" not in location:
        return path_state(Path(location).expanduser())
    from segmentor.cvat.address import CvatUri, is_cvat_uri

    if is_cvat_uri(location):
        from segmentor.cvat.pull import read_state
        from segmentor.cvat.server import CvatServer

        uri = CvatUri.parse(location)
        with CvatServer.of(uri) as server:
            return read_state(server, uri).digest
    # Importing the client takes a second.
    from segmentor.object_store import ObjectStore
    from segmentor.object_uri import ObjectUri

    return digest_json(ObjectStore.from_environment().state(ObjectUri.parse(location)))


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns}"
