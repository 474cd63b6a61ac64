"""S3 through the minio client: listing, reading, writing, download and upload."""

import hashlib
import io
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from minio.error import S3Error
from urllib3.exceptions import ProtocolError

from segmentor.errors import StoreError
from segmentor.object_uri import ObjectUri
from segmentor.retrying import NetworkRetry
from segmentor.store_connection import StoreConnection
from segmentor.store_errors import EXISTING, MISSING, store_errors

logger = logging.getLogger(__name__)

T = TypeVar("T")


class StoredObject(NamedTuple):
    """An object as a listing has it; `size` in bytes."""

    uri: ObjectUri
    written: datetime
    size: int
    etag: str


class WrongContentError(ProtocolError):
    """Other bytes have arrived than the ETag says; they are fetched again."""


class ObjectStore:
    """An S3 endpoint. Every failure is a StoreError that names the URI and the endpoint."""

    def __init__(self, connection: StoreConnection) -> None:
        """Create the client; nothing is sent yet."""
        self.endpoint = connection.endpoint
        self._retry = NetworkRetry.from_environment()
        self.client = connection.client(self._retry)
        self._buckets_with_md5: set[str] = set()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the store that the environment names.

        Raises:
            StoreError: S3_ENDPOINT is not set.
        """
        return cls(StoreConnection.from_environment(environment))

    def ensure_bucket(self, bucket: str) -> None:
        """Create a bucket unless it exists."""

        def ensure() -> None:
            if self.client.bucket_exists(bucket):
                return
            try:
                self.client.make_bucket(bucket)
            except S3Error as error:
                # Created by another process, or by a request of ours whose answer was lost.
                if error.code not in EXISTING or not self.client.bucket_exists(bucket):
                    raise

        self._call(ObjectUri(bucket, ""), ensure)

    def list_keys(self, uri: ObjectUri) -> Iterator[ObjectUri]:
        """Yield every object below a prefix, sorted by key; `a/b` does not match `a/bc`."""
        for item in self.list_objects(uri):
            yield item.uri

    def list_objects(self, uri: ObjectUri) -> Iterator[StoredObject]:
        """Yield what is known of every object below a prefix, in the order of `list_keys`."""
        for item in self._list(uri):
            found = ObjectUri(uri.bucket, str(item.object_name))
            yield StoredObject(found, item.last_modified, item.size or 0, str(item.etag))

    def _list(self, uri: ObjectUri) -> Iterator[Any]:
        """Yield what the client says of every object below a prefix, page by page."""
        prefix = uri.key if not uri.key or uri.key.endswith("/") else uri.key + "/"
        # Each page is requested again by the pool: a generator that has failed would only end.
        with store_errors(uri, self.endpoint, self._retry):
            for item in self.client.list_objects(uri.bucket, prefix, recursive=True):
                if item.object_name and item.last_modified and not item.is_dir:
                    yield item

    def exists(self, uri: ObjectUri) -> bool:
        """Return True if there is an object with exactly this key."""

        def stat() -> bool:
            try:
                self.client.stat_object(uri.bucket, uri.key)
            except S3Error as error:
                if error.code in MISSING:
                    return False
                raise
            return True

        return self._call(uri, stat)

    def state(self, uri: ObjectUri) -> list[list[str | int]]:
        """Return key, ETag, size and version of an object, or of each object below a prefix.

        Raises:
            StoreError: nothing at this URI, or the store is away.
        """
        if uri.key and not uri.key.endswith("/") and self.exists(uri):
            found = [self._call(uri, lambda: self.client.stat_object(uri.bucket, uri.key))]
        else:
            found = sorted(self._list(uri), key=lambda item: str(item.object_name))
        if not found:
            raise self._nothing_at(uri)
        return [
            [str(item.object_name), str(item.etag), item.size or 0, str(item.version_id or "")]
            for item in found
        ]

    def read(self, uri: ObjectUri) -> bytes:
        """Return an object's content, as the store has it.

        The ETag of most objects is their MD5, which is compared. Where no object of a bucket has
        had its MD5 as ETag, content is taken once it has arrived twice.

        Raises:
            StoreError: no such object, or the store is away.
        """
        unproven = ""

        def get() -> bytes:
            nonlocal unproven
            response = self.client.get_object(uri.bucket, uri.key)
            try:
                content = bytes(response.read())
            finally:
                response.close()
                response.release_conn()
            etag = str(response.headers.get("ETag", "")).strip('"').lower()
            found = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if found == etag:
                self._buckets_with_md5.add(uri.bucket)
            elif len(etag) == len(found) and not _is_key_encrypted(response.headers):
                is_known = uri.bucket in self._buckets_with_md5
                if is_known or found != unproven:
                    unproven = found
                    raise WrongContentError("other content than its ETag says")
            return content

        return self._call(uri, get)

    def read_range(self, uri: ObjectUri, offset: int, size: int) -> bytes:
        """Return a part of an object's content.

        Raises:
            StoreError: no such object, or the store is away.
        """

        def get() -> bytes:
            response = self.client.get_object(uri.bucket, uri.key, offset=offset, length=size)
            try:
                content = bytes(response.read())
            finally:
                response.close()
                response.release_conn()
            if len(content) != size:
                raise ProtocolError(f"{len(content)} of {size} bytes")
            return content

        return self._call(uri, get)

    def write(
        self, uri: ObjectUri, content: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        """Upload a small object."""

        def put() -> None:
            self.client.put_object(
                uri.bucket, uri.key, io.BytesIO(content), len(content), content_type=content_type
            )

        self._call(uri, put)

    def remove(self, uri: ObjectUri) -> None:
        """Remove an object; one that is not there is no error."""
        self._call(uri, lambda: self.client.remove_object(uri.bucket, uri.key))

    def download(self, uri: ObjectUri, target: Path) -> None:
        """Download one object to a file, or all below a prefix to a folder.

        Raises:
            StoreError: nothing at this URI, a key that would leave the folder, or a store away.
        """
        if uri.key and not uri.key.endswith("/") and self.exists(uri):
            self._fetch(uri, target, target)
            return
        prefix = uri.key.rstrip("/") + "/" if uri.key else ""
        found = False
        for item in self.list_keys(uri):
            path = target / item.key[len(prefix) :]
            if not path.resolve().is_relative_to(target.resolve()):
                raise StoreError(str(item), "a key that climbs out of its prefix", "a plain key")
            self._fetch(item, path, target)
            found = True
        if not found:
            raise self._nothing_at(uri)

    def _nothing_at(self, uri: ObjectUri) -> StoreError:
        return StoreError(str(uri), "no object", f"one at {self.endpoint}", "check bucket and key")

    def _fetch(self, uri: ObjectUri, path: Path, beside: Path) -> None:
        """Download one object, by way of a temporary file beside the whole download."""
        # The client's own temporary name is 46 bytes longer than the target's: maybe too long.
        partial = beside.absolute().parent / f".{uuid.uuid4().hex}.part"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._call(
                uri,
                lambda: self.client.fget_object(
                    uri.bucket, uri.key, str(path), tmp_file_path=str(partial)
                ),
            )
        except OSError as error:
            found = f"cannot be written to {path.parent} ({error.strerror})"
            remedy = "make room, or rename what has a long name or the name of a folder"
            raise StoreError(str(uri), found, "a place for it", remedy) from error
        finally:
            partial.unlink(missing_ok=True)

    def upload_file(
        self, path: Path, uri: ObjectUri, content_type: str = "application/octet-stream"
    ) -> None:
        """Upload one file; large ones in parts."""

        def put() -> None:
            try:
                written = self.client.fput_object(
                    uri.bucket, uri.key, str(path), content_type=content_type
                )
            except S3Error as error:
                if error.code != "NoSuchUpload":
                    raise
                # The upload was completed, but the reply was lost; the retry no longer finds it.
                raise ProtocolError("the reply to the upload was lost") from error
            if not written.etag:  # S3 may report a failure after it has sent the status 200
                raise ProtocolError("the upload was not completed")

        self._call(uri, put)
        logger.info("uploaded uri=%s bytes=%d", uri, path.stat().st_size)

    def upload_folder(self, folder: Path, uri: ObjectUri) -> None:
        """Upload every file of a folder below a prefix."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.upload_file(path, uri.child(path.relative_to(folder).as_posix()))

    def _call(self, uri: ObjectUri, operation: Callable[[], T]) -> T:
        with store_errors(uri, self.endpoint, self._retry):
            return self._retry.call(self.endpoint, operation)


def _is_key_encrypted(headers: Mapping[str, str]) -> bool:
    """Return True for an object whose ETag is not its MD5, because of how it is encrypted."""
    by_service = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return by_service or "x-amz-server-side-encryption-customer-algorithm" in headers
