"""Which S3 server the environment names, with which keys, and the client for it.

AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, and S3_ENDPOINT: host:port,
or a URL whose scheme says whether TLS is used. Without keys, those that AWS gives a pod for its
service account are fetched (IRSA, EKS Pod Identity); the endpoint is then AWS's own by default.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials import IamAwsProvider

from segmentor.errors import StoreError
from segmentor.retrying import NetworkRetry, attempt_timeout

# AWS sets these in the pods of a service account that has a role.
_POD_CREDENTIALS = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)


def has_credentials(environment: Mapping[str, str] = os.environ) -> bool:
    """Return True if the environment has keys, or what AWS gives a pod to fetch them."""
    return bool(environment.get("AWS_ACCESS_KEY_ID")) or _are_given_to_pod(environment)


def _are_given_to_pod(environment: Mapping[str, str]) -> bool:
    return any(map(environment.get, _POD_CREDENTIALS))


@dataclass(frozen=True)
class StoreConnection:
    """How to reach an S3 server.

    Attributes:
        endpoint: host:port (TLS assumed), or a URL.
        access_key: None for anonymous access.
        secret_key: None for anonymous access.
        session_token: Belongs to temporary credentials.
        region: None asks the server.
        fetch_keys: Fetch the keys that AWS gives the pod's service account.
    """

    endpoint: str
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    region: str | None = None
    fetch_keys: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the connection that the environment describes.

        Raises:
            StoreError: S3_ENDPOINT is not set.
        """
        endpoint = environment.get("S3_ENDPOINT") or environment.get("AWS_ENDPOINT_URL")
        region = environment.get("AWS_REGION", "us-east-1")
        fetch_keys = not environment.get("AWS_ACCESS_KEY_ID") and _are_given_to_pod(environment)
        if fetch_keys:
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
            fetch_keys,
        )

    def client(self, retry: NetworkRetry) -> Minio:
        """Create the client; nothing is sent yet.

        Raises:
            StoreError: the endpoint is neither host:port nor a URL.
        """
        endpoint = self.endpoint
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        pool = urllib3.PoolManager(
            timeout=attempt_timeout(),
            maxsize=10,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
            retries=retry,
        )
        try:
            return Minio(
                parts.netloc,
                access_key=self.access_key,
                secret_key=self.secret_key,
                session_token=self.session_token,
                secure=parts.scheme == "https",
                region=self.region,
                credentials=IamAwsProvider(http_client=pool) if self.fetch_keys else None,
                http_client=pool,
            )
        except ValueError as error:
            raise StoreError(
                endpoint, f"no usable endpoint ({error})", "host:port or a URL"
            ) from error
