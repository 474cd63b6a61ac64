"""A session with a CVAT server: requests by CVAT's client, failures as one line."""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import urllib3
from cvat_sdk.api_client import exceptions
from cvat_sdk.core import Client
from cvat_sdk.core.client import AccessTokenCredentials
from cvat_sdk.core.downloading import Downloader
from cvat_sdk.core.exceptions import CvatSdkException
from cvat_sdk.core.helpers import make_request_headers

from segmentor.cvat.address import CvatUri
from segmentor.errors import CvatError
from segmentor.retrying import NetworkRetry, attempt_timeout

logger = logging.getLogger(__name__)

TOKEN = "CVAT_ACCESS_TOKEN"
_REMEDIES = {
    401: f"set {TOKEN} to a valid personal access token",
    403: "ask the owner for access, or name the organization (?organization=NAME)",
    404: "check the id, and the organization (?organization=NAME)",
}


class CvatServer:
    """A CVAT server, authenticated by an access token; use it as a context manager."""

    def __init__(self, url: str, token: str, organization: str = "") -> None:
        """Create the client; nothing is sent yet.

        Args:
            url: Base URL.
            token: A personal access token.
            organization: Short name; empty for what the token can see by itself.
        """
        self.url = url
        self.client = Client(url, check_server_version=False)
        self.client.api_client.rest_client.pool_manager.connection_pool_kw.update(
            retries=NetworkRetry.from_environment(), timeout=attempt_timeout()
        )
        self.client.login(AccessTokenCredentials(token))
        if organization:
            self.client.organization_slug = organization

    @classmethod
    def of(cls, uri: CvatUri, environment: Mapping[str, str] = os.environ) -> Self:
        """Open the server that an address names, with the token of the environment.

        Raises:
            CvatError: the environment has no token.
        """
        token = environment.get(TOKEN, "")
        if not token:
            raise CvatError(
                TOKEN,
                "not set",
                "a personal access token of the CVAT server",
                "create one in CVAT (Profile, Security); on a cluster put it into the Secret "
                "segmentor-cvat",
            )
        return cls(uri.server, token, uri.organization)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def version(self) -> str:
        """Return the server's version; warn if CVAT's client was not made for it.

        Raises:
            CvatError: the server is away, or is no CVAT server.
        """
        about = self.get("server/about")
        if not isinstance(about, dict) or "version" not in about:
            raise CvatError(self.url, "an API of another kind", "a CVAT server")
        found = str(about["version"])
        supported = [".".join(map(str, v.release[:2])) for v in Client.SUPPORTED_SERVER_VERSIONS]
        if ".".join(found.split(".")[:2]) not in supported:
            logger.warning(
                "cvat server=%s version=%s supported=%s", self.url, found, ",".join(supported)
            )
        return found

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a path below /api/.

        Raises:
            CvatError: the server is away, or refuses.
        """
        return self._request("GET", path, query)

    def items(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of all pages of a list.

        Raises:
            CvatError: the server is away, or refuses.
        """
        page = 1
        while True:
            reply = self.get(path, **query, page=page, page_size=100)
            yield from reply["results"]
            if not reply.get("next"):
                return
            page += 1

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send JSON to a path below /api/; return the reply's JSON, None if it is empty.

        CVAT's models would check the type of each number: 6 s for the mask of a 4K image.

        Raises:
            CvatError: the server is away, or refuses.
        """
        return self._request(method, path, query, body)

    def download(self, url: str, target: Path) -> None:
        """Download a file; it appears under its name when it is whole.

        Raises:
            CvatError: the server is away, or refuses.
        """
        with self._failures(url):
            Downloader(self.client).download_file(url, target, timeout=None)

    def image(self, task: int, frame: int) -> bytes:
        """Return a frame of a task, encoded, at its original size.

        Raises:
            CvatError: the server is away, or refuses.
        """
        query = {"type": "frame", "number": frame, "quality": "original"}
        content: bytes = self._request("GET", f"tasks/{task}/data", query, parse=bytes)
        return content

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any = None,
        parse: Callable[[bytes], Any] = json.loads,
    ) -> Any:
        api = self.client.api_client
        url = self.client.api_map.make_endpoint_url(f"/api/{path}", query_params=dict(query))
        with self._failures(path):
            headers = make_request_headers(api)
            data = api.rest_client.request(method, url, headers=headers, body=body).data
            return parse(data) if data else None

    @contextlib.contextmanager
    def _failures(self, path: str) -> Iterator[None]:
        where = path if "://" in path else f"{self.url}/api/{path}"
        try:
            yield
        except exceptions.ApiException as error:
            reason = _reason(error)
            raise CvatError(
                where, f"HTTP {error.status}: {reason}", remedy=_REMEDIES.get(error.status, "")
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise CvatError(
                where,
                f"no answer ({_cause(error)})",
                "a CVAT server",
                "check the address; cvat+http:// is for servers without TLS",
            ) from error
        except CvatSdkException as error:
            raise CvatError(where, str(error)) from error
        except ValueError as error:
            raise CvatError(where, f"no JSON ({error})", "the API of a CVAT server") from error


def _reason(error: exceptions.ApiException) -> str:
    """Return the server's own words on one line."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        value = json.loads(body or "")
    except ValueError:
        value = None
    if isinstance(value, dict):
        value = value.get("detail") or value.get("message") or value
    text = str(value if value else error.reason or body or "no reason given")
    return " ".join(text.split())[:200]


def _cause(error: urllib3.exceptions.HTTPError) -> str:
    """Return the innermost reason: urllib3 wraps it up to three times."""
    cause: Exception = error
    while isinstance(reason := getattr(cause, "reason", None), Exception):
        cause = reason
    return " ".join(str(cause).split())[:200]
