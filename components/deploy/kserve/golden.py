"""The golden request: what the cluster serves must be what was evaluated, pixel by pixel.

A faster engine may change as many pixels as the predictor itself allows it.
"""

import logging
import time
from dataclasses import dataclass

import numpy as np
import urllib3

from components.deploy.gate.candidate import Candidate
from segmentor.contract import ModelContract
from segmentor.errors import DeployError, MaskError
from segmentor.image_io import decode_index, encode_png, read_header
from segmentor.inference import predict_mask
from segmentor.model_samples import EXACT_ENGINE, MAX_FLIPPED
from segmentor.onnx_model import MODEL_FILE, OnnxModel

logger = logging.getLogger(__name__)

DIGEST_HEADER = "X-Segmentor-Digest"
ENGINE_HEADER = "X-Segmentor-Engine"
# A route may appear later than the pods that it leads to.
ROUTE_SECONDS = 60.0
SECONDS_BETWEEN_REQUESTS = 1.0
_NOT_YET = (404, 502, 503, 504)
_MESH = (
    "the service mesh refuses callers without a sidecar, as the pipeline's pods are: see "
    "'RBAC: access denied' in docs/cluster/troubleshooting.md"
)


@dataclass
class _Tally:
    """Counts over the compared masks of one engine."""

    images: int = 0
    pixels: int = 0
    flipped: int = 0


def check_served(url: str, name: str, candidate: Candidate, max_flipped_fraction: float) -> None:
    """Send images and compare the masks with those that the candidate predicts here.

    The images are those that are published with the model; without any, a drawn one is sent.
    Replicas on different processors may serve different engines: each engine has its own limit.

    Args:
        url: Address of the InferenceService.
        name: Name of the model.
        candidate: What should be served.
        max_flipped_fraction: The parity limit: share of pixels that may differ.

    Raises:
        DeployError: no answer, another model, or another mask.
    """
    images = list(candidate.samples.values()) or [_drawn_image(candidate.contract)]
    model = OnnxModel(candidate.files[MODEL_FILE])
    endpoint = f"{url.rstrip('/')}/v1/models/{name}:predict"
    tallies: dict[str, _Tally] = {}
    for content in images:
        engine, served = _ask(endpoint, content, candidate.digest)
        expected = predict_mask(model.forward, candidate.contract, content)
        if served.shape != expected.shape:
            raise DeployError(endpoint, f"a mask of {served.shape}", f"{expected.shape}")
        tally = tallies.setdefault(engine, _Tally())
        tally.images += 1
        tally.pixels += expected.size
        tally.flipped += int((served != expected).sum())
    for engine, tally in tallies.items():
        _judge(endpoint, engine, tally, max_flipped_fraction)


def _judge(endpoint: str, engine: str, tally: _Tally, max_flipped_fraction: float) -> None:
    is_exact = engine == EXACT_ENGINE
    limit = max_flipped_fraction if is_exact else max(max_flipped_fraction, MAX_FLIPPED)
    logger.info(
        "golden engine=%s images=%d pixels=%d flipped=%d max_flipped_fraction=%g",
        *(engine, tally.images, tally.pixels, tally.flipped, limit),
    )
    if tally.flipped > limit * tally.pixels:
        raise DeployError(
            endpoint,
            f"{tally.flipped} of {tally.pixels} pixels of engine {engine} differ from the "
            "evaluated masks",
            f"at most {limit:g} of them",
            "" if is_exact else f"serve it with --engine={EXACT_ENGINE}",
        )


def _drawn_image(contract: ModelContract) -> bytes:
    """Draw gradients and noise in a size unlike the network's, so that each stage has work."""
    height, width = contract.input.size[0] * 3 // 2 + 1, contract.input.size[1] * 3 // 2 + 1
    rows = np.linspace(0, 255, height)[:, None, None]
    columns = np.linspace(0, 255, width)[None, :, None]
    noise = np.random.default_rng(0).integers(0, 64, (height, width, 3))
    return encode_png(np.clip((rows + columns) / 2 + noise - 32, 0, 255).astype(np.uint8))


def _ask(endpoint: str, content: bytes, digest: str) -> tuple[str, np.ndarray]:
    """Return the engine that answered, and its mask."""
    response = _post(endpoint, content, digest)
    if response.status != 200:
        said = f"HTTP {response.status} ({response.data[:200]!r})"
        # Istio's refusal of callers without its sidecar, such as KFP's pods.
        is_of_mesh = response.status == 403 and b"RBAC" in response.data
        raise DeployError(endpoint, said, "HTTP 200", _MESH if is_of_mesh else "")
    served = response.headers.get(DIGEST_HEADER)
    if served != digest:
        raise DeployError(endpoint, f"an answer of model {served}", digest)
    try:
        mask = decode_index(response.data, endpoint)
    except MaskError as error:
        raise DeployError(endpoint, error.found, "an index mask as PNG") from error
    # A predictor that names no engine is of a release that had only this one.
    return response.headers.get(ENGINE_HEADER, EXACT_ENGINE), mask


def _post(endpoint: str, content: bytes, digest: str) -> urllib3.BaseHTTPResponse:
    """Ask until the model answers, for as long as a route may take to appear."""
    headers = {
        "Content-Type": f"image/{read_header(content).format.lower()}",
        # A connection that is kept open stays with its pod, even if that is about to end.
        "Connection": "close",
    }
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
            if not _is_early(response, digest) or time.monotonic() >= deadline:
                return response
        time.sleep(SECONDS_BETWEEN_REQUESTS)


def _is_early(response: urllib3.BaseHTTPResponse, digest: str) -> bool:
    """Return True if a later answer may differ: there was no pod yet, or the pod is ending.

    A pod that is being deleted is no longer counted by Kubernetes, but answers for some seconds.
    """
    is_of_another = response.status == 200 and response.headers.get(DIGEST_HEADER) != digest
    return response.status in _NOT_YET or is_of_another
