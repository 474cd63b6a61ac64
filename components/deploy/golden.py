"""The golden request: what the cluster serves must be what was evaluated, pixel by pixel."""

import logging
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import urllib3

from components.deploy.candidate import Candidate
from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.errors import DeployError, MaskError
from segmentor.image_io import encode_png, read_header
from segmentor.inference import predict_mask
from segmentor.masks import decode_mask
from segmentor.onnx_model import MODEL_FILE, OnnxModel

logger = logging.getLogger(__name__)

IMAGES = 5
DIGEST_HEADER = "X-Segmentor-Digest"
# A route may lag behind the pods that it leads to.
ROUTE_SECONDS = 60.0
_NOT_YET = (404, 502, 503, 504)


def check_served(
    url: str, name: str, candidate: Candidate, test: Path | None, max_flipped_fraction: float
) -> float:
    """Sends images and compares the masks with those of the candidate, run here.

    Args:
        url: Of the InferenceService.
        name: Of the model.
        candidate: What should be served.
        test: The test set, of which the first images are sent; without it a drawn one is.
        max_flipped_fraction: The parity limit: share of pixels that may differ.

    Returns:
        The share of pixels that differ.

    Raises:
        DeployError: no answer, another model, or another mask.
    """
    images = _test_images(test) if test else [_drawn_image(candidate.contract)]
    model = OnnxModel(candidate.files[MODEL_FILE])
    endpoint = f"{url.rstrip('/')}/v1/models/{name}:predict"
    flipped = pixels = 0
    for content in images:
        served = _ask(endpoint, content, candidate.digest)
        expected = predict_mask(model.forward, candidate.contract, content)
        if served.shape != expected.shape:
            raise DeployError(endpoint, f"a mask of {served.shape}", f"{expected.shape}")
        flipped += int((served != expected).sum())
        pixels += expected.size
    fraction = flipped / pixels
    logger.info("golden images=%d pixels=%d flipped=%d", len(images), pixels, flipped)
    if fraction > max_flipped_fraction:
        raise DeployError(
            endpoint,
            f"{flipped} of {pixels} pixels differ from the evaluated masks",
            f"at most {max_flipped_fraction:g} of them",
        )
    return fraction


def _test_images(test: Path) -> Sequence[bytes]:
    dataset = Dataset(test)
    return [dataset.image_content(sample) for sample in islice(dataset.iter_samples(), IMAGES)]


def _drawn_image(contract: ModelContract) -> bytes:
    """Draws gradients and noise, not of the network's size, so that every stage has work to do."""
    height, width = contract.input.size[0] * 3 // 2 + 1, contract.input.size[1] * 3 // 2 + 1
    rows = np.linspace(0, 255, height)[:, None, None]
    columns = np.linspace(0, 255, width)[None, :, None]
    noise = np.random.default_rng(0).integers(0, 64, (height, width, 3))
    return encode_png(np.clip((rows + columns) / 2 + noise - 32, 0, 255).astype(np.uint8))


def _ask(endpoint: str, content: bytes, digest: str) -> np.ndarray:
    media_type = f"image/{read_header(content).format.lower()}"
    response = _post(endpoint, content, {"Content-Type": media_type})
    if response.status != 200:
        raise DeployError(endpoint, f"HTTP {response.status} ({response.data[:200]!r})", "HTTP 200")
    served = response.headers.get(DIGEST_HEADER)
    if served != digest:
        raise DeployError(endpoint, f"an answer of model {served}", digest)
    try:
        return decode_mask(response.data, endpoint)
    except MaskError as error:
        raise DeployError(endpoint, error.found, "an index mask as PNG") from error


def _post(endpoint: str, content: bytes, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    deadline = time.monotonic() + ROUTE_SECONDS
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=60), retries=False)
    while True:
        try:
            response = pool.request("POST", endpoint, body=content, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            if time.monotonic() >= deadline:
                raise DeployError(
                    endpoint,
                    f"no answer ({type(error).__name__})",
                    "an answer",
                    "check the NetworkPolicy: pipelines must reach predictors",
                ) from error
        else:
            if response.status not in _NOT_YET or time.monotonic() >= deadline:
                return response
        time.sleep(1)
