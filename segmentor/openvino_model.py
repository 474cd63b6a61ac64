"""OpenVINO: the same ONNX files, compiled for this processor, behind `Forward`."""

import functools
import sys
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import ConfigError
from segmentor.inference import Forward


def capabilities() -> tuple[str, ...]:
    """Return the types that this processor has instructions for: FP32, BF16, INT8 and others.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def compile_forward(source: Path | bytes, threads: int, streams: int = 1) -> Forward:
    """Compile a model for the CPU; what the file has in float32 is computed in float32.

    Args:
        source: The .onnx file, or its content; float32, or INT8 as export writes it.
        threads: Threads of all inferences together.
        streams: Inferences at once.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    settings = {
        # OpenVINO uses bfloat16 by default if the processor has it, and masks change.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": min(streams, threads),
        # Cached image sizes; each takes 2 MiB, and the default has no limit.
        "CPU_RUNTIME_CACHE_CAPACITY": 16,
    }
    core = _core()
    compiled = core.compile_model(core.read_model(source), "CPU", settings)
    # OpenVINO infer requests are not thread-safe.
    local = threading.local()

    def forward(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        local.request.infer({0: np.ascontiguousarray(images)}, share_inputs=True)
        # A copy: the request overwrites its output.
        return np.array(local.request.get_output_tensor(0).data, np.float32)

    return forward


def disable_telemetry() -> None:
    """Keep OpenVINO and NNCF from reporting their use to an analytics service.

    Without this package of theirs, which keeps an id in HOME, they use a stub that does nothing.
    """
    cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)


@functools.cache
def _core() -> Any:
    """Return OpenVINO's core, one for as long as the process lives.

    Its CPU plugin (2026.4) moves the signal stack of the thread that loads it into memory of its
    own. Freed in another thread, as the garbage collector does, it leaves that thread with a stack
    that is gone: the next signal with a handler, such as SIGTERM, ends the process without a trace.
    """
    disable_telemetry()
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            "engine",
            "openvino is not installed",
            "the extra 'openvino'",
            "build the image with EXTRAS=predictor,openvino, or use the engine onnxruntime",
        ) from error
    return openvino.Core()
