"""The engines that run a model: onnxruntime in fp32, exact, by default; faster ones when asked for.

A faster engine has to prove at start-up that it agrees with the exact one on the images that were
kept with the model, or the exact one is served, and says so. `fast` takes the first that does.
What agreeing means stands in `agreement.py`.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.errors import ContractError
from segmentor.image_io import encode_png
from segmentor.inference import Forward
from segmentor.model_samples import EXACT_ENGINE, SAMPLES_FOLDER, KeptSample, read_samples
from segmentor.onnx_model import INT8_FILE, OnnxModel, available_cpus
from serving.agreement import compare, make_references
from serving.metrics import ENGINE_LOSS, ENGINE_REFUSED
from serving.openvino_engine import BF16, F32, capabilities, compile_forward

logger = logging.getLogger(__name__)

Engine = Literal["onnxruntime", "openvino", "openvino-bf16", "openvino-int8", "fast"]
ENGINES: tuple[Engine, ...] = (
    "onnxruntime",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "fast",
)
EXACT: Engine = EXACT_ENGINE
# Fastest first, as measured on processors that have the instructions of both.
FASTEST_FIRST: tuple[Engine, ...] = ("openvino-bf16", "openvino-int8", "openvino")
_INSTRUCTIONS = {"openvino-bf16": "BF16", "openvino-int8": "INT8"}


def choose_engine(
    asked: Engine, model: OnnxModel, threads: int | None, streams: int
) -> tuple[Engine, Forward]:
    """Returns the engine that will serve, and its Forward: the one asked for, if it agrees.

    Args:
        asked: The engine of the setting.
        model: The exact one.
        threads: Of the engine; None takes the CPUs this process may use.
        streams: Inferences at once.

    Raises:
        ConfigError: OpenVINO is not installed.
        SegmentorError: an image or a mask that was kept with the model is damaged.
    """
    if asked == EXACT:
        return EXACT, model.forward
    kept = read_samples(model.path.parent)
    references = make_references(model, kept or _drawn_samples(model.contract))
    able = capabilities()
    reasons = {}
    for engine in FASTEST_FIRST if asked == "fast" else (asked,):
        reason = _unusable(engine, model, able, bool(kept))
        if reason is None:
            forward = compile_engine(engine, model, threads or available_cpus(), streams)
            agreement = compare(forward, model.contract, references)
            values = {"engine": engine, "images": len(references), **asdict(agreement)}
            logger.info("engine compared", extra=values)
            ENGINE_LOSS.labels(engine).set(agreement.iou_loss_at_most)
            reason = agreement.refusal()
            if reason is None:
                return engine, forward
        reasons[engine] = reason
        logger.info("engine passed over", extra={"engine": engine, "reason": reason})
    ENGINE_REFUSED.labels(asked).inc()
    text = "; ".join(f"{engine}: {reason}" for engine, reason in reasons.items())
    logger.warning("engine refused", extra={"engine": asked, "reason": text, "served": EXACT})
    return EXACT, model.forward


def _unusable(
    engine: Engine, model: OnnxModel, able: Sequence[str], has_samples: bool
) -> str | None:
    """Says why an engine need not be tried, or None."""
    instructions = _INSTRUCTIONS.get(engine)
    if instructions is None:
        return None
    if instructions not in able:
        return f"the processor has no {instructions} instructions, but {', '.join(able)}"
    if not has_samples:
        # Drawn images would let it pass: on photographs it changed ten times as many pixels.
        return f"no images in {SAMPLES_FOLDER}/ beside the model to compare it on"
    if engine == "openvino-int8":
        path = model.path.with_name(INT8_FILE)
        if not path.is_file():
            return f"no {INT8_FILE} beside the model; export with --precision both"
        try:
            made_from = OnnxModel(path).contract.provenance.get("float32_digest")
        except ContractError as error:
            return str(error)
        if made_from != model.digest:
            return f"{INT8_FILE} was made from {made_from}, not from {model.digest}"
    return None


def compile_engine(engine: Engine, model: OnnxModel, threads: int, streams: int) -> Forward:
    """Compiles a model, or the INT8 file beside it, for an engine of OpenVINO."""
    path = model.path.with_name(INT8_FILE) if engine == "openvino-int8" else model.path
    return compile_forward(path, BF16 if engine == "openvino-bf16" else F32, threads, streams)


def _drawn_samples(contract: ModelContract) -> Sequence[KeptSample]:
    return [
        KeptSample(f"drawn {seed}", encode_png(_drawn(seed, contract.input.size)))
        for seed in range(4)
    ]


def _drawn(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draws soft blobs of colour: like photographs, most of their pixels have like neighbours."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
