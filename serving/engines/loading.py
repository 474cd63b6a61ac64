"""Load: fetch a model from a folder or an object store, verify it, and warm it up."""

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from segmentor.contract import ModelContract
from segmentor.cpus import available_cpus
from segmentor.errors import ContractError
from segmentor.exported_files import names_beside
from segmentor.inference import Forward
from segmentor.onnx_model import CPU, OnnxModel
from segmentor.published_model import download_model, warm_up
from serving.drift import DriftWatch
from serving.engines.choice import EXACT, Engine, choose_engine
from serving.engines.sharing import share_cpus

logger = logging.getLogger(__name__)

VERSION_DIGITS = 12
# Larger models get no second copy with one thread: small pods have no room for it.
_LARGEST_TWICE = 16 << 20


@dataclass(frozen=True)
class ServedModel:
    """A loaded model and its identity; every reply carries name, version, digest and engine.

    `drift` compares the images with those of training, if the contract has their histograms.
    """

    name: str
    version: str
    digest: str
    engine: str
    contract: ModelContract
    forward: Forward
    drift: DriftWatch | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Return the headers (HTTP) or metadata (gRPC, which wants lower case) of every reply."""
        return {
            "x-segmentor-model": self.name,
            "x-segmentor-version": self.version,
            "x-segmentor-digest": self.digest,
            "x-segmentor-engine": self.engine,
        }


@dataclass(frozen=True)
class ModelSource:
    """Where the model comes from, which one it must be, and how it runs."""

    name: str
    location: str
    version: str | None = None
    digest: str | None = None
    threads: int | None = None
    provider: str = CPU
    engine: Engine = EXACT
    streams: int = 1


def load_model(source: ModelSource) -> ServedModel:
    """Fetch, verify and warm up the model.

    Raises:
        ContractError: no model.onnx, not a model, no contract, another digest, or masks that differ
            from the golden ones.
        StoreError: the object store is away, or has no such object.
    """
    started = time.perf_counter()
    if "://" in source.location:
        with tempfile.TemporaryDirectory(prefix="segmentor-model-") as folder:
            path = download(source, Path(folder))
            served = _open(path, source)
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


def download(source: ModelSource, folder: Path) -> Path:
    """Download a model, with the files beside it that its engine may take; see `download_model`."""
    beside = () if source.engine == EXACT else names_beside()
    return download_model(source.location, folder, beside)


def _open(path: Path, source: ModelSource) -> ServedModel:
    # No spinning: idle threads would steal the CPU from decoding and encoding.
    where = source.location if "://" in source.location else None
    model = OnnxModel(path, source.threads, source.provider, spinning=False, where=where)
    if source.digest is not None and model.digest != source.digest:
        raise ContractError(
            source.location, f"digest {model.digest}", source.digest, "deploy the model again"
        )
    warm_up(source.location, model.contract, model.forward)
    engine, forward = choose_engine(source.engine, model, source.threads, source.streams)
    if engine != EXACT:
        warm_up(source.location, model.contract, forward)
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
