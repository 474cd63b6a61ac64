"""The engines that run a model: onnxruntime in fp32, exact, by default; OpenVINO when asked for.

A faster engine has to prove at start-up that it agrees with the exact one on sample images, or the
exact one is served, and says so.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmentor.contract import ModelContract
from segmentor.errors import ConfigError
from segmentor.image_io import EXTENSIONS
from segmentor.inference import Forward, decode_for, mask_of
from segmentor.onnx_model import OnnxModel, available_cpus
from serving.metrics import ENGINE_REFUSED

logger = logging.getLogger(__name__)

Engine = Literal["onnxruntime", "openvino", "openvino-bf16"]
ENGINES: tuple[Engine, ...] = ("onnxruntime", "openvino", "openvino-bf16")
EXACT: Engine = "onnxruntime"

# Share of pixels that may change class; 0.5 % of them costs at most 0.002 of IoU on real roads.
MAX_FLIPPED = 0.005
SAMPLES_FOLDER = "samples"
_MOST_SAMPLES = 8


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
    """
    if asked == EXACT:
        return EXACT, model.forward
    samples = _samples(model.path.parent, model.contract)
    reason = _unsupported(asked, bool(samples))
    if reason is None:
        forward = _openvino_forward(asked, model.path, threads or available_cpus(), streams)
        flipped = flipped_fraction(forward, model, samples or _drawn_samples(model.contract))
        logger.info("engine compared", extra={"engine": asked, "flipped_fraction": flipped})
        if flipped <= MAX_FLIPPED:
            return asked, forward
        reason = f"{flipped:.2%} of the pixels differ from fp32, at most {MAX_FLIPPED:.2%}"
    ENGINE_REFUSED.labels(asked).inc()
    logger.warning("engine refused", extra={"engine": asked, "reason": reason, "served": EXACT})
    return EXACT, model.forward


def flipped_fraction(
    forward: Forward, exact: OnnxModel, samples: Sequence[NDArray[np.uint8]]
) -> float:
    """Returns the share of pixels of some images whose class another engine changes."""
    flipped = pixels = 0
    for image in samples:
        size = (image.shape[0], image.shape[1])
        masks = [mask_of(run, exact.contract, image, size) for run in (forward, exact.forward)]
        flipped += int((masks[0] != masks[1]).sum())
        pixels += masks[0].size
    return flipped / pixels


def _unsupported(engine: Engine, has_samples: bool) -> str | None:
    if engine != "openvino-bf16":
        _openvino()
        return None
    able = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in able:
        return f"the processor has no bf16 instructions, but {', '.join(able)}"
    if not has_samples:
        # Drawn images would let it pass: on photographs it changed ten times as many pixels.
        return f"no images in {SAMPLES_FOLDER}/ beside the model to compare it on"
    return None


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            "engine", "openvino is not installed", "the extra 'openvino'", "use onnxruntime"
        ) from error
    return openvino


def _openvino_forward(engine: Engine, path: Path, threads: int, streams: int) -> Forward:
    compiled = (
        _openvino()
        .Core()
        .compile_model(
            str(path),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if engine == "openvino-bf16" else "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": min(streams, threads),
            },
        )
    )
    # An infer request is not to be shared between threads.
    local = threading.local()

    def forward(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        outputs = local.request.infer({0: np.ascontiguousarray(images)})
        return np.array(outputs[0], np.float32)  # a copy: the request overwrites its output

    return forward


def _samples(folder: Path, contract: ModelContract) -> Sequence[NDArray[np.uint8]]:
    """The images kept with the model, in `samples/`."""
    paths = sorted(
        path for path in (folder / SAMPLES_FOLDER).glob("*") if path.suffix.lower() in EXTENSIONS
    )[:_MOST_SAMPLES]
    return [decode_for(contract, path.read_bytes(), path.name)[0] for path in paths]


def _drawn_samples(contract: ModelContract) -> Sequence[NDArray[np.uint8]]:
    return [_drawn(seed, contract.input.size) for seed in range(4)]


def _drawn(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draws soft blobs of colour: like photographs, most of their pixels have like neighbours."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
