"""The predictor's client: a file or a folder of images in, masks and overlays out."""

import base64
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from components.cli import output_file
from pipelines.image_files import predict_each
from segmentor.errors import DataError, PredictorError

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
OUTPUTS = ("mask", "overlay")
TIMEOUT = httpx.Timeout(60, connect=5)
# A busy predictor says so with 503; it is asked again this often.
ATTEMPTS = 5


@dataclass(frozen=True)
class PredictedImage:
    """One image's results: the files written, the model's digest, and how long the mask took."""

    image: Path
    files: tuple[Path, ...]
    digest: str
    seconds: float


class Predictor:
    """A predictor at an address; use it as a context manager."""

    def __init__(self, url: str, model: str = "") -> None:
        """Makes the client.

        Args:
            url: Such as http://127.0.0.1:8080.
            model: Its name; empty asks the server, which must then have one alone.

        Raises:
            PredictorError: no usable address, no answer, or a server with several models.
        """
        try:
            self._client = httpx.Client(base_url=url, timeout=TIMEOUT)
        except httpx.InvalidURL as error:
            raise PredictorError(url, f"no address ({error})", "http://host:port") from error
        self.url = url
        self.model = model or self._only_model()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def predict(
        self, content: bytes, media_type: str, output: str = "mask", threshold: float | None = None
    ) -> httpx.Response:
        """Sends one encoded image.

        Args:
            content: The encoded image.
            media_type: Such as image/jpeg.
            output: mask, overlay, json or probability.
            threshold: Of binary models: foreground above it; None takes the model's own.

        Raises:
            PredictorError: no answer, or a refusal; the server's reason is in the message.
        """
        return self._request(
            "POST",
            f"/v1/models/{self.model}:predict",
            params={"output": output, **({"threshold": threshold} if threshold else {})},
            content=content,
            headers={"content-type": media_type},
        )

    def predict_described(
        self, content: bytes, threshold: float | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Returns what `predict` gives as json, and the mask, from one request.

        Raises:
            PredictorError: no answer, or a refusal; the server's reason is in the message.
        """
        reply = self._request(
            "POST",
            f"/v1/models/{self.model}:predict",
            params={"output": "mask", **({"threshold": threshold} if threshold else {})},
            json={"instances": [{"b64": base64.b64encode(content).decode()}]},
        ).json()
        (prediction,) = reply.pop("predictions")
        return {**reply, **prediction}, base64.b64decode(prediction.pop("mask")["b64"])

    def facts(self) -> dict[str, Any]:
        """Returns what the server says of the model: digest, engine, classes; threshold if binary.

        Raises:
            PredictorError: no answer, or a refusal.
        """
        return dict(self._request("GET", f"/v2/models/{self.model}").json().get("parameters", {}))

    def _only_model(self) -> str:
        names = self._request("GET", "/v1/models").json().get("models", [])
        if len(names) != 1:
            listed = ", ".join(map(str, names)) or "none"
            raise PredictorError(self.url, f"models {listed}", "one model", "name it with --model")
        return str(names[0])

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._client.request(method, path, **arguments)
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
                raise PredictorError(
                    self.url,
                    f"no answer ({reason})",
                    "a predictor",
                    "start one with `segmentor serve`, or give another --url",
                ) from error
            if response.status_code != 503 or attempt == ATTEMPTS:
                break
            time.sleep(attempt)
        if response.is_error:
            raise PredictorError(self.url, f"HTTP {response.status_code}: {_reason(response)}")
        return response


def predict_files(
    predictor: Predictor, source: Path, output: Path, outputs: Sequence[str] = OUTPUTS
) -> Iterator[PredictedImage]:
    """Predicts every image of a file or folder; yields as it goes.

    `a/b.jpg` becomes `a/b.mask.png` and `a/b.overlay.png` below `output`.

    Raises:
        DataError: no image at `source`, or, after all others are done, images that were refused.
        PredictorError: the server is away.
    """

    def predict(image: Path, target: Path) -> PredictedImage:
        try:
            return _predict_file(predictor, image, target, outputs)
        except PredictorError as error:
            if "HTTP 4" not in error.found:
                raise
            raise DataError(str(image), error.found) from error

    return predict_each(source, output, predict)


def _predict_file(
    predictor: Predictor, image: Path, target: Path, outputs: Sequence[str]
) -> PredictedImage:

    content = image.read_bytes()
    media_type = MEDIA_TYPES.get(image.suffix.lower(), "application/octet-stream")
    files = []
    seconds, digest = 0.0, ""
    for output in outputs:
        start = time.perf_counter()
        response = predictor.predict(content, media_type, output)
        if output == outputs[0]:
            seconds = time.perf_counter() - start
        digest = response.headers.get("x-segmentor-digest", "")
        path = target.with_suffix(f".{output}.png")
        with output_file(path) as partial:
            partial.write_bytes(response.content)
        files.append(path)
    return PredictedImage(image, tuple(files), digest, seconds)


def _reason(response: httpx.Response) -> str:
    """Takes the server's own words: KServe's {"error": ...}, else the first line of the body."""
    try:
        body = response.json()
        return str(body.get("error") or body.get("detail") or body)
    except (ValueError, AttributeError):
        return response.text.splitlines()[0][:200] if response.text else response.reason_phrase
