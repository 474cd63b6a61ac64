"""S3 through the minio client: download and upload. Credentials come from the environment.

AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, and S3_ENDPOINT: host:port,
or a URL whose scheme says whether TLS is used. Without keys, those that AWS gives a pod for its
service account are fetched (IRSA, EKS Pod Identity); the endpoint is then AWS's own by default.
"""

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials import IamAwsProvider
from minio.error import MinioException, S3Error

from segmentor.errors import StoreError

logger = logging.getLogger(__name__)

SCHEMES = ("s3", "minio")
# Set by AWS in the pods of a service account that has a role.
_POD_CREDENTIALS = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
_MISSING = ("NoSuchKey", "NoSuchBucket", "NoSuchObject")

T = TypeVar("T")


@dataclass(frozen=True)
class ObjectUri:
    """`s3://bucket/key` (also `minio://`, as KFP writes it); the key may be a prefix, or empty."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Parses a URI.

        Raises:
            StoreError: another scheme, or no bucket.
        """
        parts = urlsplit(uri)
        if parts.scheme not in SCHEMES or not parts.netloc:
            raise StoreError(uri, "no object store URI", "s3://bucket/key")
        # A key may hold '?' and '#', which a URL would end at.
        return cls(parts.netloc, uri.split("://", 1)[1].partition("/")[2])

    def child(self, name: str) -> "ObjectUri":
        """Returns the URI of a name below this prefix."""
        return ObjectUri(self.bucket, f"{self.key.rstrip('/')}/{name}".lstrip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def is_object_uri(text: str) -> bool:
    """True for `s3://...` and `minio://...`."""
    return text.split("://", 1)[0] in SCHEMES and "://" in text


class ObjectStore:
    """An S3 endpoint. Every failure is a StoreError that names the URI and the endpoint."""

    def __init__(
        self,
        endpoint: str,
        access_key: str | None,
        secret_key: str | None,
        session_token: str | None = None,
        region: str | None = None,
        credentials: IamAwsProvider | None = None,
    ) -> None:
        """Makes the client; nothing is sent yet.

        Args:
            endpoint: host:port (TLS assumed), or a URL.
            access_key: None for anonymous access.
            secret_key: None for anonymous access.
            session_token: Of temporary credentials.
            region: None asks the server.
            credentials: Where keys are fetched when none are given.
        """
        self.endpoint = endpoint
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        # The client's default waits five minutes for a dead host, six times over.
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=60),
            maxsize=10,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
            retries=urllib3.Retry(
                total=3, backoff_factor=0.3, status_forcelist=(500, 502, 503, 504)
            ),
        )
        try:
            self.client = Minio(
                parts.netloc,
                access_key=access_key,
                secret_key=secret_key,
                session_token=session_token,
                secure=parts.scheme == "https",
                region=region,
                credentials=credentials,
                http_client=pool,
            )
        except ValueError as error:
            raise StoreError(
                endpoint, f"no usable endpoint ({error})", "host:port or a URL"
            ) from error

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Makes the store that the environment names.

        Raises:
            StoreError: S3_ENDPOINT is not set.
        """
        endpoint = environment.get("S3_ENDPOINT") or environment.get("AWS_ENDPOINT_URL")
        region = environment.get("AWS_REGION", "us-east-1")
        credentials = None
        if not environment.get("AWS_ACCESS_KEY_ID") and any(map(environment.get, _POD_CREDENTIALS)):
            credentials = IamAwsProvider()
            endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
        if not endpoint:
            raise StoreError(
                "S3_ENDPOINT",
                "not set",
                "the address of the object store",
                "set S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        return cls(
            endpoint,
            environment.get("AWS_ACCESS_KEY_ID"),
            environment.get("AWS_SECRET_ACCESS_KEY"),
            environment.get("AWS_SESSION_TOKEN"),
            region,
            credentials,
        )

    def ensure_bucket(self, bucket: str) -> None:
        """Makes a bucket unless it is there."""

        def ensure() -> None:
            if not self.client.bucket_exists(bucket):
                self.client.make_bucket(bucket)

        self._call(ObjectUri(bucket, ""), ensure)

    def list_keys(self, uri: ObjectUri) -> Iterator[ObjectUri]:
        """Yields every object below a prefix, sorted by key; `a/b` does not match `a/bc`."""
        prefix = uri.key if not uri.key or uri.key.endswith("/") else uri.key + "/"
        objects = self._call(
            uri, lambda: list(self.client.list_objects(uri.bucket, prefix, recursive=True))
        )
        for item in objects:
            if item.object_name and not item.is_dir:
                yield ObjectUri(uri.bucket, item.object_name)

    def exists(self, uri: ObjectUri) -> bool:
        """True when there is an object with exactly this key."""

        def stat() -> bool:
            try:
                self.client.stat_object(uri.bucket, uri.key)
            except S3Error as error:
                if error.code in _MISSING:
                    return False
                raise
            return True

        return self._call(uri, stat)

    def read(self, uri: ObjectUri) -> bytes:
        """Returns an object's content.

        Raises:
            StoreError: no such object, or the store is away.
        """

        def get() -> bytes:
            response = self.client.get_object(uri.bucket, uri.key)
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()

        return self._call(uri, get)

    def download(self, uri: ObjectUri, target: Path) -> None:
        """Downloads one object to a file, or all below a prefix to a folder.

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
            raise StoreError(
                str(uri), "no object", f"one at {self.endpoint}", "check bucket and key"
            )

    def _fetch(self, uri: ObjectUri, path: Path, beside: Path) -> None:
        """Downloads one object; until it is complete it is a file beside the whole download."""
        # The client's own name for it is the target's and 46 bytes: too long where a name is.
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
        """Uploads one file; large ones in parts."""
        self._call(
            uri,
            lambda: self.client.fput_object(
                uri.bucket, uri.key, str(path), content_type=content_type
            ),
        )
        logger.info("uploaded uri=%s bytes=%d", uri, path.stat().st_size)

    def upload_folder(self, folder: Path, uri: ObjectUri) -> None:
        """Uploads every file of a folder below a prefix."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.upload_file(path, uri.child(path.relative_to(folder).as_posix()))

    def _call(self, uri: ObjectUri, operation: Callable[[], T]) -> T:
        try:
            return operation()
        except S3Error as error:
            if error.code in _MISSING:
                raise StoreError(
                    str(uri),
                    f"{error.code} at {self.endpoint}",
                    "an object",
                    "check bucket and key",
                ) from error
            raise StoreError(
                str(uri),
                f"{error.code} from {self.endpoint} ({error.message})",
                remedy="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy",
            ) from error
        except ValueError as error:
            # A name that no bucket can have, or a role that gives no keys.
            raise StoreError(str(uri), str(error), "a bucket that may be asked for") from error
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            reason = getattr(error, "reason", None) or error
            raise StoreError(
                str(uri),
                f"no answer from {self.endpoint} ({type(reason).__name__})",
                "a reachable S3 server",
                "check S3_ENDPOINT",
            ) from error
