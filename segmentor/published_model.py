"""A published model, opened as the predictor opens it: fetched, and compared with golden images."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segmentor.agreement import flipped_fraction
from segmentor.contract import INPUT_NAME, OUTPUT_NAME, ModelContract
from segmentor.errors import ContractError
from segmentor.inference import Forward
from segmentor.model_samples import (
    EXACT_ENGINE,
    RECORD_FILE,
    SAMPLES_FOLDER,
    KeptSample,
    recorded_limit,
)
from segmentor.onnx_model import MODEL_FILE, OnnxModel
from segmentor.tiling import tile_side

logger = logging.getLogger(__name__)

_WARM_UP_SIZE = (375, 500)


def download_model(location: str, folder: Path, beside: Sequence[str] = ()) -> Path:
    """Download a model, its record and its golden images; return the path of model.onnx.

    Args:
        location: The s3:// URI of model.onnx, or of the folder that holds it.
        folder: Where to.
        beside: Names of further files that are wanted if they are there.

    Raises:
        StoreError: the object store is away, or has no such object.
    """
    # Imported here: a predictor with a mounted model starts sooner without the client.
    from segmentor.object_store import ObjectStore
    from segmentor.object_uri import ObjectUri

    uri = ObjectUri.parse(location)
    if not uri.key.endswith(".onnx"):
        uri = uri.child(MODEL_FILE)
    path = folder / MODEL_FILE
    store = ObjectStore.from_environment()
    store.download(uri, path)
    for name in (RECORD_FILE, *beside):
        if store.exists(uri.parent().child(name)):
            store.download(uri.parent().child(name), folder / name)
    samples = uri.parent().child(SAMPLES_FOLDER)
    if next(store.list_keys(samples), None):
        store.download(samples, folder / SAMPLES_FOLDER)
    return path


def warm_up(location: str, contract: ModelContract, forward: Forward) -> None:
    """Run the network once, because the first run allocates memory and is slow.

    Raises:
        ContractError: it does not run, or its output is not what its contract says.
    """
    height, width = (min(length, tile_side(contract)) for length in _WARM_UP_SIZE)
    try:
        probability = forward(np.zeros((1, height, width, 3), np.uint8))
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ContractError(
            location,
            f"a model that does not run ({reason})",
            f"one that takes '{INPUT_NAME}' and gives '{OUTPUT_NAME}', as export writes it",
        ) from error
    spec = contract.input
    size = spec.size if spec.size_policy == "resize" else (height, width)
    expected = (1, contract.channels, *size)
    if probability.shape != expected:
        raise ContractError(
            location,
            f"an output of shape {probability.shape} for an image of {height} x {width}",
            f"{expected}, as its contract implies",
            "export the model again",
        )
    if not np.isfinite(probability).all():
        raise ContractError(location, "an output that is not finite", "probabilities")


def require_golden(model: OnnxModel, kept: Sequence[KeptSample]) -> None:
    """Refuse a model that does not reproduce the masks that were published with it.

    Args:
        model: The exact engine.
        kept: The images that lie beside it.

    Raises:
        ContractError: too many pixels differ.
    """
    golden = [sample for sample in kept if sample.expected is not None]
    if not golden:
        logger.warning("no golden images beside the model: not compared with its evaluation")
        return
    flipped = flipped_fraction(model.forward, model.contract, golden)
    limit = recorded_limit(model.path.parent)
    values = {
        "engine": EXACT_ENGINE,
        "images": len(golden),
        "flipped_fraction": flipped,
        "limit": limit,
    }
    logger.info("golden images compared", extra=values)
    if flipped > limit:
        raise ContractError(
            "golden images",
            f"{flipped:.3g} of the pixels differ from the masks published with the model",
            f"at most {limit:g}",
            "this container image or node computes other results than the evaluation",
        )
