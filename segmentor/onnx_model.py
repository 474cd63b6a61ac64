"""A served model: model.onnx with its contract inside, run by onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from segmentor.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelContract
from segmentor.cpus import available_cpus
from segmentor.digests import digest_file
from segmentor.errors import ContractError

MODEL_FILE = "model.onnx"
# Beside it if export wrote both precisions: the same model, faster and a little worse.
INT8_FILE = "model.int8.onnx"
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


class OnnxModel:
    """An ONNX segmentation model, its contract and its digest; `forward` is a `Forward`."""

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        provider: str = CPU,
        spinning: bool = True,
        where: str | None = None,
    ) -> None:
        """Load the model.

        Args:
            path: The .onnx file, or a folder with model.onnx in it.
            threads: Intra-op threads; None takes the CPUs this process may use.
            provider: CPUExecutionProvider or CUDAExecutionProvider. Never chosen from what is
                available: the CPU wheel lists a cloud provider first.
            spinning: Whether idle threads spin. Faster in a loop; in a server they steal the CPU
                that decodes and encodes.
            where: What to call it in errors; None takes the path.

        Raises:
            ContractError: no file, not an ONNX model, no contract inside, or no such provider.
        """
        self.path = path / MODEL_FILE if path.is_dir() else path
        where = where or str(self.path)
        if not self.path.is_file():
            raise ContractError(where, "no such file", "an ONNX model", "run the export step")
        if provider not in onnxruntime.get_available_providers():
            raise ContractError(
                where, f"no {provider} in this onnxruntime", "an installed provider"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cpus()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "1" if spinning else "0"
        )
        if provider == CUDA:
            # CUDA's libraries are in Python packages, where the loader does not look by itself.
            onnxruntime.preload_dlls()
        try:
            self.session = onnxruntime.InferenceSession(
                str(self.path), options, providers=[provider]
            )
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            reason = str(error).splitlines()[0][:200]
            raise ContractError(where, f"not a loadable ONNX model ({reason})") from error
        started = self.session.get_providers()
        if provider not in started:
            # onnxruntime continues with another provider, and says so only in its log.
            raise ContractError(
                where,
                f"{provider} does not start here, onnxruntime took {started[0]}",
                "a device and its driver",
            )
        metadata = self.session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ContractError(
                where, "an ONNX model without a contract", "one written by the export step"
            )
        self.contract = ModelContract.from_text(metadata[METADATA_KEY], where)
        self.digest = digest_file(self.path)

    def forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 (N, H, W, 3) -> probability float32 (N, C, h, w)."""
        (probability,) = self.session.run([OUTPUT_NAME], {INPUT_NAME: images})
        return np.asarray(probability, np.float32)
