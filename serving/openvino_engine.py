"""OpenVINO as an engine: the same ONNX files, compiled for this processor, behind `Forward`."""

import sys
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import ConfigError
from segmentor.inference import Forward

BF16 = "bf16"
F32 = "f32"


def capabilities() -> tuple[str, ...]:
    """What OpenVINO says this processor has instructions for: FP32, BF16, INT8 and others.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    return tuple(_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def compile_forward(path: Path, precision: str, threads: int, streams: int) -> Forward:
    """Compiles a model for the CPU.

    Args:
        path: The .onnx file; float32, or INT8 as export writes it.
        precision: BF16 or F32, of what the file has in float32.
        threads: All together.
        streams: Inferences at once.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": min(streams, threads),
        # Of image sizes it has prepared itself for; by default they take 2 MiB each, without end.
        "CPU_RUNTIME_CACHE_CAPACITY": 16,
    }
    compiled = _openvino().Core().compile_model(str(path), "CPU", settings)
    # An infer request is not to be shared between threads.
    local = threading.local()

    def forward(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        local.request.infer({0: np.ascontiguousarray(images)}, share_inputs=True)
        # A copy: the request overwrites its output.
        return np.array(local.request.get_output_tensor(0).data, np.float32)

    return forward


def _openvino() -> Any:
    # Imported, OpenVINO reports its use to an analytics service, under an id that it keeps in HOME;
    # without this package of its own it uses a stub that does nothing.
    cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            "engine",
            "openvino is not installed",
            "the extra 'openvino'",
            "build the image with EXTRAS=predictor,openvino, or use the engine onnxruntime",
        ) from error
    return openvino
