"""A client of the predictor, which accepts nothing but a predictor's own reply."""

import base64
import ipaddress
import json
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode

import certifi
import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.response import BaseHTTPResponse

from segmentor.errors import DataError, PredictorError
from segmentor.output_forms import OUTPUT_FORMS
from segmentor.retrying import BUSY_STATUSES, CONNECT_SECONDS, NetworkRetry, failure_name

# What gateways in front of a predictor ask for.
TOKEN = "SEGMENTOR_PREDICTOR_TOKEN"
COOKIE = "SEGMENTOR_PREDICTOR_COOKIE"
HOST = "SEGMENTOR_PREDICTOR_HOST"

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
_DIGEST = "X-Segmentor-Digest"
# A large image takes the predictor longer than a silent object store deserves.
READ_SECONDS = 60.0
# What the predictor answers if it cannot use an image.
_REFUSED_IMAGE = (400, 413, 415, 422)


@dataclass(frozen=True)
class Reply:
    """A prediction as the predictor encoded it, and the digest of the model that made it."""

    content: bytes
    digest: str


class Predictor:
    """A predictor at an address; use it as a context manager."""

    def __init__(
        self, url: str, model: str = "", environment: Mapping[str, str] = os.environ
    ) -> None:
        """Connect to a predictor.

        Args:
            url: Such as http://127.0.0.1:8080.
            model: Its name; empty asks the server, which must then have only one.
            environment: SEGMENTOR_PREDICTOR_TOKEN, SEGMENTOR_PREDICTOR_COOKIE and
                SEGMENTOR_PREDICTOR_HOST (a Host header) pass a gateway; proxies are taken from
                here too, but never for loopback.

        Raises:
            PredictorError: the address is invalid, or the server does not have just one model.
        """
        self.url = url.rstrip("/")
        self._headers = _gateway_headers(environment)
        self._pool = _pool(self.url)
        # Until something has answered, a refused connection means that no server was started.
        self._retry = NetworkRetry.from_environment(environment).new(status_forcelist=BUSY_STATUSES)
        self._retry.ends_when_refused = True
        self.model = model or self._only_model()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def predict(
        self, content: bytes, media_type: str, output: str = "mask", threshold: float | None = None
    ) -> Reply:
        """Send one encoded image.

        Args:
            content: The encoded image.
            media_type: Such as image/jpeg.
            output: One of `OUTPUT_FORMS`.
            threshold: For binary models: foreground above it; None takes the model's own.

        Raises:
            DataError: the predictor refuses the image.
            PredictorError: no answer, or one that is not a predictor's.
        """
        query = {"output": output, **({"threshold": threshold} if threshold else {})}
        return self._predict(query, content, media_type, output)

    def predict_described(
        self, content: bytes, threshold: float | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Return the description that `predict` gives as json, and the mask, from one request.

        Raises:
            DataError: the predictor refuses the image.
            PredictorError: no answer, or one that is not a predictor's.
        """
        query = {"output": "mask", **({"threshold": threshold} if threshold else {})}
        body = json.dumps({"instances": [{"b64": base64.b64encode(content).decode()}]})
        reply = json.loads(self._predict(query, body.encode(), "application/json", "json").content)
        (prediction,) = reply.pop("predictions")
        return {**reply, **prediction}, base64.b64decode(prediction.pop("mask")["b64"])

    def facts(self) -> dict[str, Any]:
        """Return what the server says about the model: digest, engine, classes, threshold.

        Raises:
            PredictorError: no answer, or one that is not a predictor's.
        """
        return dict(self._json(f"/v2/models/{quote(self.model)}").get("parameters", {}))

    def _only_model(self) -> str:
        names = self._json("/v1/models").get("models", [])
        if len(names) != 1:
            listed = ", ".join(map(str, names)) or "none"
            raise PredictorError(self.url, f"models {listed}", "one model", "name it with --model")
        return str(names[0])

    def _predict(self, query: Mapping[str, Any], body: bytes, media_type: str, form: str) -> Reply:
        path = f"/v1/models/{quote(self.model)}:predict?{urlencode(query)}"
        return self._genuine(self._request("POST", path, body, media_type), form)

    def _json(self, path: str) -> dict[str, Any]:
        return dict(json.loads(self._genuine(self._request("GET", path), "json").content))

    def _genuine(self, response: BaseHTTPResponse, form: str) -> Reply:
        """Return the reply if it is a predictor's, and of this form.

        Raises:
            DataError: the predictor refuses the image.
            PredictorError: it refuses something else, or this is the reply of something else.
        """
        status = f"HTTP {response.status}"
        expected = OUTPUT_FORMS[form]
        found = response.headers.get("Content-Type", "no content type").partition(";")[0]
        digest = response.headers.get(_DIGEST, "")
        if 300 <= response.status < 400:
            to = response.headers.get("Location", "nowhere")
            raise self._stranger(f"{status} to {to}, maybe a login page")
        if not digest:
            raise self._stranger(f"{status} without {_DIGEST} ({found}: {_shown(response)})")
        if response.status in _REFUSED_IMAGE:
            raise DataError("image", f"{status}: {_shown(response)}")
        if response.status != 200:
            raise PredictorError(self.url, f"{status}: {_shown(response)}")
        if found != expected.media_type or not response.data.startswith(expected.beginning):
            raise self._stranger(f"{found} ({_shown(response)}) instead of {expected.media_type}")
        return Reply(response.data, digest)

    def _stranger(self, found: str) -> PredictorError:
        return PredictorError(
            self.url,
            found,
            "the reply of a predictor",
            f"check --url; a gateway may need {TOKEN}, {COOKIE} or {HOST}",
        )

    def _request(
        self, method: str, path: str, body: bytes | None = None, media_type: str = ""
    ) -> BaseHTTPResponse:
        headers = {**self._headers, **({"Content-Type": media_type} if media_type else {})}
        try:
            response = self._pool.urlopen(
                method,
                self.url + path,
                body=body,
                headers=headers,
                redirect=False,
                retries=self._retry,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )
        except HTTPError as error:
            if failure_name(error) == "IncompleteRead":
                raise self._stranger("a reply shorter than its Content-Length") from error
            raise PredictorError(
                self.url,
                f"no answer ({failure_name(error)})",
                "a predictor",
                "start one with `segmentor serve`, or give another --url",
            ) from error
        self._retry.ends_when_refused = False
        return response


def _gateway_headers(environment: Mapping[str, str]) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if token := environment.get(TOKEN):
        headers["Authorization"] = f"Bearer {token}"
    if cookie := environment.get(COOKIE):
        headers["Cookie"] = cookie
    if host := environment.get(HOST):
        headers["Host"] = host
    for name, value in ((TOKEN, token), (COOKIE, cookie), (HOST, host)):
        if value and not value.isprintable():
            raise PredictorError(name, "a line break in it", "one line", "take the line break out")
    return headers


def _pool(url: str) -> urllib3.PoolManager:
    """Return a pool that goes through the environment's proxy, unless the host is exempt."""
    try:
        parts = urllib3.util.parse_url(url)
    except LocationParseError as error:
        raise PredictorError(url, f"no address ({error})", "http://host:port") from error
    host = (parts.host or "").strip("[]")
    if parts.scheme not in ("http", "https") or not host:
        raise PredictorError(url, "no address", "http://host:port")
    authorities = os.environ.get("SSL_CERT_FILE") or certifi.where()
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or is_loopback(host) or urllib.request.proxy_bypass(host):
        return urllib3.PoolManager(ca_certs=authorities)
    # As curl and pip do: a proxy without a scheme is one of http.
    address = proxy if "://" in proxy else f"http://{proxy}"
    try:
        return urllib3.ProxyManager(address, ca_certs=authorities)
    except (HTTPError, ValueError) as error:
        name = f"{parts.scheme}_proxy"
        raise PredictorError(name, f"'{proxy}'", "http://host:port", "correct it") from error


def _shown(response: BaseHTTPResponse) -> str:
    """Return the server's own words: KServe's {"error": ...}, else the beginning of the body."""
    try:
        body = json.loads(response.data)
        return str(body.get("error") or body.get("detail") or body)[:300]
    except (ValueError, AttributeError):
        lines = response.data.decode("utf-8", "replace").splitlines()
        return lines[0][:100] if lines else str(response.reason)


def is_loopback(host: str) -> bool:
    """Return True for the names and addresses of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
