"""Quantises a model to INT8 by NNCF.

Some convolutions stay in float32 (docs/decisions/0040-int8.md): the first and the last, where no
error is averaged out; depthwise ones, which gain no time; and, as long as the IoU on val falls too
much, those that read a Concat, whose inputs OpenVINO brings to one scale.
"""

import logging
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from segmentor.contract import INPUT_NAME, ModelContract
from segmentor.cpus import available_cpus
from segmentor.dataset import Dataset, Sample
from segmentor.inference import Forward, decode_for, mask_of
from segmentor.metrics import confusion_matrix, dataset_iou
from segmentor.model_samples import FAST_IOU_LOSS
from segmentor.onnx_model import OnnxModel
from segmentor.openvino_model import compile_forward, disable_telemetry
from segmentor.tiling import is_tiled, tile_side

logger = logging.getLogger(__name__)

# More images change the ranges of activations little, and calibration takes their time.
CALIBRATION_IMAGES = 64


def quantize(model: OnnxModel, val: Dataset) -> onnx.ModelProto:
    """Return the INT8 form of a model, calibrated on val."""
    disable_telemetry()
    import nncf

    nncf.set_log_level(logging.WARNING)
    contract = model.contract
    samples = spread(val)
    images = [{INPUT_NAME: calibration_pixels(contract, val, one)[None]} for one in samples]
    float32 = onnx.load(str(model.path))
    kept, readers = _kept_in_float32(float32)
    expected = _iou(model.forward, contract, val, samples)
    while True:
        quantized: onnx.ModelProto = nncf.quantize(
            float32,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=sorted(kept)),
        )
        forward = compile_forward(quantized.SerializeToString(), available_cpus())
        loss = expected - _iou(forward, contract, val, samples)
        logger.info("quantised float32_convolutions=%d val_iou_loss=%.5f", len(kept), loss)
        if not (loss > FAST_IOU_LOSS and readers):
            return quantized
        kept.add(readers.pop())


def _kept_in_float32(model: onnx.ModelProto) -> tuple[set[str], list[str]]:
    """Return convolutions by name: those to keep in any case, and those that read a Concat.

    The last of these is the nearest to the output, where an error costs most.
    """
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    concatenated = {node.output[0] for node in model.graph.node if node.op_type == "Concat"}
    groups = {
        node.name: attribute.i
        for node in convolutions
        for attribute in node.attribute
        if attribute.name == "group"
    }
    always = {convolutions[0].name, convolutions[-1].name}
    always |= {name for name, count in groups.items() if count > 1}
    return always, [node.name for node in convolutions if node.input[0] in concatenated]


def _iou(
    forward: Forward, contract: ModelContract, dataset: Dataset, samples: Sequence[Sample]
) -> float:
    """Return the IoU on some samples."""
    total = np.zeros((len(contract.label_map),) * 2, np.int64)
    for sample in samples:
        pixels, size = decode_for(contract, dataset.image_content(sample), sample.id)
        mask = mask_of(forward, contract, pixels, size)
        total += confusion_matrix(dataset.mask(sample), mask, len(total))
    return dataset_iou(total, contract.is_binary)


def spread(dataset: Dataset) -> Sequence[Sample]:
    """Return samples spread over a data set."""
    step = max(1, len(dataset) // CALIBRATION_IMAGES)
    return dataset.samples[::step][:CALIBRATION_IMAGES]


def calibration_pixels(
    contract: ModelContract, dataset: Dataset, sample: Sample
) -> NDArray[np.uint8]:
    """Read an image as it is served; of one that is served in tiles, the middle tile."""
    pixels, _ = decode_for(contract, dataset.image_content(sample), sample.id)
    if not is_tiled(contract, sample.size):
        return pixels
    side = tile_side(contract)
    top, left = ((length - min(length, side)) // 2 for length in sample.size)
    return pixels[top : top + side, left : left + side]
