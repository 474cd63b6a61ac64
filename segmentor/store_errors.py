"""What S3 and the way to it answer, as StoreErrors that name the URI and the endpoint."""

import contextlib
from collections.abc import Iterator
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from segmentor.errors import StoreError
from segmentor.object_uri import ObjectUri
from segmentor.retrying import NetworkRetry, failure_name

# Codes that say that there is no such object.
MISSING = ("NoSuchKey", "NoSuchBucket", "NoSuchObject")
# Codes that say that a bucket is there, perhaps somebody else's.
EXISTING = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


@contextlib.contextmanager
def store_errors(uri: ObjectUri, endpoint: str, retry: NetworkRetry) -> Iterator[None]:
    """Turn what the client raises into StoreErrors."""
    try:
        yield
    except S3Error as error:
        raise _refused(uri, error, endpoint, retry) from error
    except ValueError as error:
        # An invalid bucket name, or a role without keys.
        raise StoreError(str(uri), str(error), "a bucket that may be asked for") from error
    except (MinioException, ParseError, urllib3.exceptions.HTTPError) as error:
        raise StoreError(
            str(uri),
            f"no answer from {endpoint} ({_reason(error)})",
            "a reachable S3 server",
            "check S3_ENDPOINT",
        ) from error


def _refused(uri: ObjectUri, error: S3Error, endpoint: str, retry: NetworkRetry) -> StoreError:
    if error.code in MISSING:
        return StoreError(
            str(uri), f"{error.code} at {endpoint}", "an object", "check bucket and key"
        )
    found = f"{error.code} from {endpoint} ({error.message})"
    status = error.response.status
    if status in retry.status_forcelist:
        tried = f"it was asked for {retry.seconds:.0f} s; try again later"
        return StoreError(str(uri), f"HTTP {status} {found}", "a server that is ready", tried)
    return StoreError(
        str(uri),
        found,
        remedy="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ServerError):
        return f"HTTP {error.status_code}"
    if isinstance(error, InvalidResponseError):  # has the status only in its message
        return str(error).partition(", Body")[0]
    return failure_name(error)
