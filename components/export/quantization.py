"""INT8: the exported model quantised, calibrated on val, and kept only if it is worth it.

Convolutions alone are quantised: they are where the time goes, and the rest in float32 keeps the
IoU. The first and the last stay in float32 too: on the demo's model all of them lost 0.0144 of IoU,
these left out 0.00002, at the same speed. Activations are symmetric int8, which OpenVINO folds into
the convolutions (docs/decisions/0040-int8.md).
"""

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from components.export.onnx_file import write_contract
from components.export.parity import Parity, measure_parity, parity_figures
from segmentor.contract import INPUT_NAME
from segmentor.dataset import Dataset
from segmentor.errors import ContractError
from segmentor.inference import decode_for
from segmentor.nn.checkpoint import Checkpoint
from segmentor.onnx_model import INT8_FILE, OnnxModel
from segmentor.tiling import is_tiled, tile_side

logger = logging.getLogger(__name__)

# More images change the ranges of activations little, and calibration takes their time.
CALIBRATION_IMAGES = 64
# Less is within what two runs of the same model differ by.
WORTHWHILE = 1.05


class ValImages(CalibrationDataReader):  # type: ignore[misc]
    """Feeds validation images, as they are served, to the calibration."""

    def __init__(self, model: OnnxModel, val: Dataset) -> None:
        self._images = self._iterate(model, val)

    def _iterate(self, model: OnnxModel, val: Dataset) -> Iterator[dict[str, NDArray[np.uint8]]]:
        step = max(1, len(val) // CALIBRATION_IMAGES)
        for sample in val.samples[::step][:CALIBRATION_IMAGES]:
            pixels, _ = decode_for(model.contract, val.image_content(sample), sample.id)
            if is_tiled(model.contract, sample.size):  # the middle tile: no more runs at a time
                side = tile_side(model.contract)
                top, left = ((length - min(length, side)) // 2 for length in sample.size)
                pixels = pixels[top : top + side, left : left + side]
            yield {INPUT_NAME: pixels[None]}

    def __iter__(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        return self._images

    def get_next(self) -> Any:
        """Returns the next input, None after the last: onnxruntime's protocol."""
        return next(self._images, None)


@dataclass(frozen=True)
class Quantized:
    """The INT8 model, what it costs on the test set, and what it gains on val, in this run."""

    model: OnnxModel
    measured: Parity
    iou_loss: float
    speed_up: float

    @property
    def is_faster(self) -> bool:
        """Whether it is worth its loss of IoU in onnxruntime on this processor."""
        return self.speed_up >= WORTHWHILE

    def figures(self) -> dict[str, Any]:
        """What it adds to the parity figures, whichever of the two is model.onnx."""
        return {
            "int8_iou": self.measured.model_iou,
            "int8_iou_loss": self.iou_loss,
            "int8_speed_up": round(self.speed_up, 3),
        }

    def figures_in_place(self, parity: Parity) -> dict[str, Any]:
        """The parity figures where it is model.onnx: those of the file that has this digest.

        Args:
            parity: Of the float32 model it was made from, whose figures lie beside, `float32_...`.
        """
        kept = ("max_probability_difference", "flipped_pixels", "flipped_fraction", "iou")
        float32 = parity_figures(parity)
        beside = {f"float32_{name}": float32[name] for name in kept}
        return {**parity_figures(self.measured), **beside, **self.figures()}


def quantize(model: OnnxModel, val: Path, target: Path) -> None:
    """Writes the INT8 form of a model, with the same contract but for `model_precision`.

    Args:
        model: The float32 model.
        val: The data set to calibrate on.
        target: The file to write.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        # Symbolic shape inference trips over free sizes, and is not needed for convolutions.
        quant_pre_process(str(model.path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            ValImages(model, Dataset(val)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_first_and_last(prepared),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": True},
        )
    written = onnx.load(str(target))
    contract = model.contract
    provenance = {
        **contract.provenance,
        "model_precision": "int8",
        "float32_digest": model.digest,
    }
    write_contract(written, replace(contract, provenance=provenance))
    onnx.save_model(written, str(target))


def _first_and_last(path: Path) -> list[str]:
    """The names of the convolutions at the image and at the probability."""
    names = [node.name for node in onnx.load(str(path)).graph.node if node.op_type == "Conv"]
    return [names[0], names[-1]] if len(names) > 2 else names[:0]


def speed_up(first: OnnxModel, second: OnnxModel, val: Dataset) -> float:
    """How many times as fast `second` is: the median over images run through both in turn.

    In turn, because a machine that does other things is slow at one moment and fast at the next.
    """
    ratios = []
    for images in ValImages(first, val):
        pixels = images[INPUT_NAME]
        seconds = []
        for model in (first, second):
            start = time.perf_counter()
            model.forward(pixels)
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
    """Writes the INT8 form beside a float32 model that passed its parity check.

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
            "split again, or export with --precision float32",
        )
    target = model.path.with_name(INT8_FILE)
    quantize(model, val, target)
    measured = measure_parity(checkpoint, OnnxModel(target), val, test)
    loss = parity.model_iou - measured.model_iou
    if not loss <= max_iou_loss:
        target.unlink()
        raise ContractError(
            "INT8",
            f"a loss of IoU of {loss:.4f} ({parity.model_iou:.4f} to {measured.model_iou:.4f})",
            f"at most {max_iou_loss:g}",
            "export with --precision float32, or raise --max-iou-loss",
        )
    gain = speed_up(model, OnnxModel(target), Dataset(val))
    logger.info("quantized iou_loss=%.5f speed_up=%.2f", loss, gain)
    quantized = Quantized(OnnxModel(target), measured, loss, gain)
    if not quantized.is_faster:
        logger.warning("int8 is not faster than float32 here speed_up=%.2f", gain)
    return quantized


def put_in_place(quantized: Quantized, model: OnnxModel) -> Quantized:
    """Replaces the float32 model by its INT8 form."""
    quantized.model.path.replace(model.path)
    return replace(quantized, model=OnnxModel(model.path))
