"""Content digests, `sha256:<hex>`, which identify everything that moves between steps."""

import hashlib
import json
from pathlib import Path
from typing import Any


def digest_bytes(content: bytes | memoryview) -> str:
    """Return the digest of a byte string."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """Return the digest of a file, read in blocks."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest_json(value: Any) -> str:
    """Return the digest of a JSON value, independent of the order of its keys."""
    return digest_bytes(canonical_json(value).encode())


def digest_tree(folder: Path) -> str:
    """Return the digest of a folder: its sorted relative paths and their content digests."""
    entries = {
        path.relative_to(folder).as_posix(): digest_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return digest_json(entries)
