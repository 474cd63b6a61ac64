"""The INT8 model beside the float32 one: measured where it runs, refused if it costs too much."""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from components.export.onnx_file import write_contract
from components.export.parity import Parity, measure_parity, parity_figures
from components.export.quantization import calibration_pixels, quantize, spread
from segmentor.contract import ModelContract
from segmentor.cpus import available_cpus
from segmentor.dataset import Dataset
from segmentor.errors import ContractError
from segmentor.inference import Forward, decode_for, mask_of
from segmentor.metrics import confusion_matrix, dataset_iou
from segmentor.nn.checkpoint import Checkpoint
from segmentor.onnx_model import INT8_FILE, OnnxModel
from segmentor.openvino_model import compile_forward
from segmentor.progress import track

logger = logging.getLogger(__name__)

# Less is within what two runs of the same model differ by.
WORTHWHILE = 1.05


@dataclass(frozen=True)
class InOpenvino:
    """What the INT8 model is in OpenVINO, beside the float32 model in onnxruntime.

    `iou` is on the test set, `flipped_fraction` the share of its pixels whose class differs,
    `speed_up` the median over val images.
    """

    iou: float
    flipped_fraction: float
    speed_up: float


@dataclass(frozen=True)
class Quantized:
    """The INT8 model, in onnxruntime (`measured`, `speed_up`) and in OpenVINO."""

    model: OnnxModel
    measured: Parity
    openvino: InOpenvino
    float32_iou: float
    speed_up: float

    @property
    def iou_loss(self) -> float:
        """How much test IoU it loses in the runtime where it loses more."""
        return self.float32_iou - min(self.measured.model_iou, self.openvino.iou)

    @property
    def is_faster(self) -> bool:
        """Whether onnxruntime, which runs an INT8 model.onnx, gains from it on this processor."""
        return self.speed_up >= WORTHWHILE

    def figures(self) -> dict[str, Any]:
        """Return what it adds to the parity figures, whichever of the two is model.onnx."""
        return {
            "int8_iou": self.measured.model_iou,
            "int8_iou_loss": self.iou_loss,
            "int8_speed_up": round(self.speed_up, 3),
            "int8_openvino_iou": self.openvino.iou,
            "int8_openvino_flipped_fraction": self.openvino.flipped_fraction,
            "int8_openvino_speed_up": round(self.openvino.speed_up, 3),
        }

    def figures_in_place(self, parity: Parity) -> dict[str, Any]:
        """Return the parity figures where it is model.onnx: those of the file with this digest.

        Args:
            parity: Of the float32 model it was made from, whose figures are beside, `float32_...`.
        """
        kept = ("max_probability_difference", "flipped_pixels", "flipped_fraction", "iou")
        float32 = parity_figures(parity)
        beside = {f"float32_{name}": float32[name] for name in kept}
        return {**parity_figures(self.measured), **beside, **self.figures()}


def measure_in_openvino(model: OnnxModel, int8: Path, val: Dataset, test: Dataset) -> InOpenvino:
    """Run the INT8 file in OpenVINO, and the float32 model in onnxruntime beside it."""
    contract = model.contract
    forward = compile_forward(int8, available_cpus())
    confusion = change = np.zeros((len(contract.label_map),) * 2, np.int64)
    for sample in track(test.read_ahead(test), "INT8 in OpenVINO", len(test)):
        pixels, size = decode_for(contract, test.image_content(sample), sample.id)
        mask = mask_of(forward, contract, pixels, size)
        exact = mask_of(model.forward, contract, pixels, size)
        confusion = confusion + confusion_matrix(test.mask(sample), mask, len(confusion))
        change = change + confusion_matrix(exact, mask, len(confusion))
    return InOpenvino(
        iou=dataset_iou(confusion, contract.is_binary),
        flipped_fraction=1 - float(np.trace(change) / change.sum()),
        speed_up=speed_up(model.forward, forward, contract, val),
    )


def speed_up(first: Forward, second: Forward, contract: ModelContract, val: Dataset) -> float:
    """Return how many times as fast `second` is: the median over images run through both in turn.

    In turn, because a machine that does other things is slow at one moment and fast at the next.
    """
    ratios = []
    for sample in spread(val):
        pixels = calibration_pixels(contract, val, sample)[None]
        seconds = []
        for forward in (first, second):
            start = time.perf_counter()
            forward(pixels)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return float(np.median(ratios))


def write_int8(
    checkpoint: Checkpoint,
    model: OnnxModel,
    parity: Parity,
    val: Path,
    test: Path,
    max_iou_loss: float,
) -> Quantized:
    """Write the INT8 form beside a float32 model that passed its parity check.

    Args:
        checkpoint: What the model was exported from.
        model: The float32 model.
        parity: Its figures.
        val: The data set to calibrate on.
        test: The data set to measure on.
        max_iou_loss: Largest loss of IoU that passes.

    Raises:
        ContractError: the IoU falls by more than the limit, or cannot be measured. No file is left.
    """
    if np.isnan(parity.model_iou):
        raise ContractError(
            "INT8",
            "a test set without true pixels, on which no loss of IoU can be measured",
            "a test set with some",
            "split again, or export with --export-precision float32",
        )
    target = model.path.with_name(INT8_FILE)
    val_set, test_set = Dataset(val), Dataset(test)
    written = quantize(model, val_set)
    onnx.save_model(written, str(target))
    openvino = measure_in_openvino(model, target, val_set, test_set)
    provenance = {
        **model.contract.provenance,
        "model_precision": "int8",
        "float32_digest": model.digest,
        # By these the predictor decides whether its engine `fast` may serve this file.
        "openvino_iou_loss": parity.model_iou - openvino.iou,
        "openvino_flipped_fraction": openvino.flipped_fraction,
    }
    write_contract(written, replace(model.contract, provenance=provenance))
    onnx.save_model(written, str(target))
    int8 = OnnxModel(target)
    measured = measure_parity(checkpoint, int8, val, test)
    gain = speed_up(model.forward, int8.forward, model.contract, val_set)
    quantized = Quantized(int8, measured, openvino, parity.model_iou, gain)
    logger.info("quantized %s", " ".join(f"{k}={v:.5g}" for k, v in quantized.figures().items()))
    require_harmless(quantized, max_iou_loss)
    return quantized


def require_harmless(quantized: Quantized, max_iou_loss: float) -> None:
    """Refuse and remove an INT8 file that loses too much.

    Raises:
        ContractError: it loses more IoU than the limit, in one of the runtimes.
    """
    if quantized.iou_loss <= max_iou_loss:
        return
    quantized.model.path.unlink()
    raise ContractError(
        "INT8",
        f"a loss of IoU of {quantized.iou_loss:.4f} ({quantized.float32_iou:.4f} to "
        f"{quantized.measured.model_iou:.4f} in onnxruntime, {quantized.openvino.iou:.4f} in "
        "OpenVINO)",
        f"at most {max_iou_loss:g}",
        "export with --export-precision float32, or raise --max-iou-loss",
    )


def put_in_place(quantized: Quantized, model: OnnxModel) -> Quantized:
    """Replace the float32 model by its INT8 form."""
    quantized.model.path.replace(model.path)
    return replace(quantized, model=OnnxModel(model.path))
