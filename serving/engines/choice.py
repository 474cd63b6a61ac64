"""The choice of an engine: onnxruntime in fp32 is exact and the default; others are faster.

The engine that serves has first predicted the golden images that deploy published with the model.
A faster engine must agree with their expected masks; otherwise the exact one serves. `fast` takes
the first that agrees. The exact engine must reproduce the masks; otherwise the predictor ends. How
much IoU INT8 costs was measured by export, on the whole test set; here it is only read.
"""

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmentor.agreement import flipped_fraction, with_expected
from segmentor.contract import ModelContract
from segmentor.cpus import available_cpus
from segmentor.errors import ContractError
from segmentor.image_io import encode_png
from segmentor.inference import Forward
from segmentor.model_samples import (
    EXACT_ENGINE,
    FAST_IOU_LOSS,
    MAX_FLIPPED,
    SAMPLES_FOLDER,
    KeptSample,
    read_samples,
)
from segmentor.onnx_model import INT8_FILE, OnnxModel
from segmentor.openvino_model import capabilities, compile_forward
from segmentor.published_model import require_golden
from serving.metrics import ENGINE_FLIPPED, ENGINE_REFUSED

logger = logging.getLogger(__name__)

Engine = Literal["onnxruntime", "openvino", "openvino-int8", "fast"]
EXACT: Engine = EXACT_ENGINE
FASTEST_FIRST: tuple[Engine, ...] = ("openvino-int8", "openvino")


def choose_engine(
    asked: Engine, model: OnnxModel, threads: int | None, streams: int
) -> tuple[Engine, Forward]:
    """Return the engine that will serve, and its Forward: the one asked for, if it agrees.

    Args:
        asked: The engine in the settings.
        model: The exact model.
        threads: Threads of the engine; None takes the CPUs that this process may use.
        streams: Inferences at once.

    Raises:
        ConfigError: OpenVINO is not installed.
        ContractError: the exact engine does not reproduce the expected masks.
        SegmentorError: an image or a mask that was kept with the model is damaged.
    """
    kept = read_samples(model.path.parent)
    if asked == EXACT:
        return EXACT, _verified(model, kept)
    samples = with_expected(model, kept or _drawn_samples(model.contract))
    reasons = {}
    for engine in FASTEST_FIRST if asked == "fast" else (asked,):
        reason = _unusable(model, bool(kept)) if engine == "openvino-int8" else None
        if reason is None:
            forward = compile_engine(engine, model, threads or available_cpus(), streams)
            flipped = flipped_fraction(forward, model.contract, samples)
            values = {"engine": engine, "images": len(samples), "flipped_fraction": flipped}
            logger.info("engine compared", extra=values)
            ENGINE_FLIPPED.labels(engine).set(flipped)
            if flipped <= MAX_FLIPPED:
                return engine, forward
            reason = f"{flipped:.2%} of the pixels differ from fp32, at most {MAX_FLIPPED:.2%}"
        reasons[engine] = reason
        logger.info("engine passed over", extra={"engine": engine, "reason": reason})
    ENGINE_REFUSED.labels(asked).inc()
    text = "; ".join(f"{engine}: {reason}" for engine, reason in reasons.items())
    logger.warning("engine refused", extra={"engine": asked, "reason": text, "served": EXACT})
    return EXACT, _verified(model, kept)


def _verified(model: OnnxModel, kept: Sequence[KeptSample]) -> Forward:
    require_golden(model, kept)
    return model.forward


def _unusable(model: OnnxModel, has_samples: bool) -> str | None:
    """Return why the INT8 file need not be tried, or None."""
    if "INT8" not in (able := capabilities()):
        return f"the processor has no INT8 instructions, but {', '.join(able)}"
    if not has_samples:
        return f"no images in {SAMPLES_FOLDER}/ beside the model to compare it on"
    path = model.path.with_name(INT8_FILE)
    if not path.is_file():
        return f"no {INT8_FILE} beside the model; export with --export-precision both"
    try:
        provenance = OnnxModel(path).contract.provenance
    except ContractError as error:
        return str(error)
    if provenance.get("float32_digest") != model.digest:
        made_from = provenance.get("float32_digest")
        return f"{INT8_FILE} was made from {made_from}, not from {model.digest}"
    loss = provenance.get("openvino_iou_loss")
    if not isinstance(loss, float):
        return f"{INT8_FILE} was never measured in OpenVINO; export it again"
    if not loss <= FAST_IOU_LOSS:
        return f"it loses {loss:.4f} of IoU on the test set, at most {FAST_IOU_LOSS} is granted"
    return None


def compile_engine(engine: Engine, model: OnnxModel, threads: int, streams: int) -> Forward:
    """Compile a model, or the INT8 file beside it, for an engine of OpenVINO."""
    path = model.path.with_name(INT8_FILE) if engine == "openvino-int8" else model.path
    return compile_forward(path, threads, streams)


def _drawn_samples(contract: ModelContract) -> Sequence[KeptSample]:
    return [
        KeptSample(f"drawn {seed}", encode_png(_drawn(seed, contract.input.size)))
        for seed in range(4)
    ]


def _drawn(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw soft blobs of colour: like photographs, most of their pixels have like neighbours."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
