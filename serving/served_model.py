"""The model that is served: fetched from a folder or an object store, verified, and warmed up."""

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segmentor.contract import INPUT_NAME, OUTPUT_NAME, ModelContract
from segmentor.errors import ContractError
from segmentor.inference import Forward
from segmentor.model_samples import RECORD_FILE, SAMPLES_FOLDER
from segmentor.onnx_model import CPU, INT8_FILE, MODEL_FILE, OnnxModel, available_cpus
from segmentor.tiling import tile_side
from serving.drift import DriftWatch
from serving.engines import EXACT, Engine, choose_engine
from serving.sharing import share_cpus

logger = logging.getLogger(__name__)

VERSION_DIGITS = 12
_WARM_UP_SIZE = (375, 500)
# Of larger models there is no second copy with one thread: small pods have no room for it.
_LARGEST_TWICE = 16 << 20


@dataclass(frozen=True)
class ServedModel:
    """A loaded model and its identity; every reply carries name, version, digest and engine.

    `drift` compares what comes with training, when the contract says what training saw.
    """

    name: str
    version: str
    digest: str
    engine: str
    contract: ModelContract
    forward: Forward
    drift: DriftWatch | None = None


@dataclass(frozen=True)
class ModelSource:
    """Where the model comes from, and what it must be."""

    name: str
    location: str
    version: str | None = None
    digest: str | None = None
    threads: int | None = None
    provider: str = CPU
    engine: Engine = EXACT
    streams: int = 1


def load_model(source: ModelSource) -> ServedModel:
    """Fetches, verifies and warms up the model.

    Raises:
        ContractError: no model.onnx there, not a model, no contract, or another digest.
        StoreError: the object store is away, or has no such object.
    """
    started = time.perf_counter()
    if "://" in source.location:
        with tempfile.TemporaryDirectory(prefix="segmentor-model-") as folder:
            served = _open(_download(source, Path(folder)), source)
    else:
        served = _open(Path(source.location), source)
    logger.info(
        "model loaded",
        extra={
            "model": served.name,
            "version": served.version,
            "digest": served.digest,
            "engine": served.engine,
            "classes": len(served.contract.label_map),
            "elapsed_s": round(time.perf_counter() - started, 3),
        },
    )
    return served


def _open(path: Path, source: ModelSource) -> ServedModel:
    # Idle threads that spin would steal the CPU that decodes and encodes.
    where = source.location if "://" in source.location else None
    model = OnnxModel(path, source.threads, source.provider, spinning=False, where=where)
    if source.digest is not None and model.digest != source.digest:
        raise ContractError(
            source.location, f"digest {model.digest}", source.digest, "deploy the model again"
        )
    _warm_up(source, model.contract, model.forward)
    engine, forward = choose_engine(source.engine, model, source.threads, source.streams)
    if engine != EXACT:
        _warm_up(source, model.contract, forward)
    elif source.provider == CPU and source.threads is None and source.streams > 1:
        forward = _shared(model, where)
    reference = model.contract.training_reference
    return ServedModel(
        name=source.name,
        version=source.version or model.digest.removeprefix("sha256:")[:VERSION_DIGITS],
        digest=model.digest,
        engine=engine,
        contract=model.contract,
        forward=forward,
        drift=DriftWatch(reference) if reference else None,
    )


def _shared(model: OnnxModel, where: str | None) -> Forward:
    if available_cpus() == 1 or model.path.stat().st_size > _LARGEST_TWICE:
        return model.forward
    narrow = OnnxModel(model.path, threads=1, spinning=False, where=where)
    return share_cpus(model.forward, narrow.forward)


def _download(source: ModelSource, folder: Path) -> Path:
    # Only here: a predictor whose model KServe has mounted starts sooner without the client.
    from segmentor.object_store import ObjectStore, ObjectUri

    uri = ObjectUri.parse(source.location)
    if not uri.key.endswith(".onnx"):
        uri = uri.child(MODEL_FILE)
    path = folder / MODEL_FILE
    store = ObjectStore.from_environment()
    store.download(uri, path)
    if source.engine == EXACT:
        return path
    beside = ObjectUri(uri.bucket, uri.key.rpartition("/")[0])
    for name in (INT8_FILE, RECORD_FILE):
        if store.exists(beside.child(name)):
            store.download(beside.child(name), folder / name)
    samples = beside.child(SAMPLES_FOLDER)
    if next(store.list_keys(samples), None):
        store.download(samples, folder / SAMPLES_FOLDER)
    return path


def _warm_up(source: ModelSource, contract: ModelContract, forward: Forward) -> None:
    """Runs the network before the first client does: the first run allocates and is slow."""
    height, width = (min(length, tile_side(contract)) for length in _WARM_UP_SIZE)
    try:
        probability = forward(np.zeros((1, height, width, 3), np.uint8))
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ContractError(
            source.location,
            f"a model that does not run ({reason})",
            f"one that takes '{INPUT_NAME}' and gives '{OUTPUT_NAME}', as export writes it",
        ) from error
    spec = contract.input
    size = spec.size if spec.size_policy == "resize" else (height, width)
    expected = (1, contract.channels, *size)
    if probability.shape != expected:
        raise ContractError(
            source.location,
            f"an output of shape {probability.shape} for an image of {height} x {width}",
            f"{expected}, as its contract implies",
            "export the model again",
        )
    if not np.isfinite(probability).all():
        raise ContractError(source.location, "an output that is not finite", "probabilities")
