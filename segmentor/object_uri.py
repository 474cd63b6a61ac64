"""Addresses in the object store, `s3://bucket/key`, without a client."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from segmentor.errors import StoreError

SCHEMES = ("s3", "minio")


@dataclass(frozen=True)
class ObjectUri:
    """`s3://bucket/key` (also `minio://`, as KFP writes it); the key may be a prefix, or empty."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Parse a URI.

        Raises:
            StoreError: another scheme, or no bucket.
        """
        parts = urlsplit(uri)
        if parts.scheme not in SCHEMES or not parts.netloc:
            raise StoreError(uri, "no object store URI", "s3://bucket/key")
        # A key may contain '?' and '#', which would end the path of a URL.
        return cls(parts.netloc, uri.split("://", 1)[1].partition("/")[2])

    def child(self, name: str) -> "ObjectUri":
        """Return the URI of a name below this prefix."""
        return ObjectUri(self.bucket, f"{self.key.rstrip('/')}/{name}".lstrip("/"))

    def parent(self) -> "ObjectUri":
        """Return the URI of the folder that holds this object."""
        return ObjectUri(self.bucket, self.key.rpartition("/")[0])

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def is_object_uri(text: str) -> bool:
    """Return True for `s3://...` and `minio://...`."""
    return text.split("://", 1)[0] in SCHEMES and "://" in text
