"""The export report: what was written, and how equal it is to the checkpoint."""

from typing import TYPE_CHECKING

from components.export.parity import Parity
from segmentor.onnx_model import OnnxModel
from segmentor.report import Report

if TYPE_CHECKING:
    from components.export.quantization import Quantized

# Images listed on the page: those with the largest difference.
SHOWN = 20
NOT_FASTER = (
    "INT8 is not faster than float32 in onnxruntime on this processor; it is in OpenVINO "
    "(predictor: --engine openvino-int8). For onnxruntime serve float32."
)


def build_report(
    parity: Parity,
    model: OnnxModel,
    limits: tuple[float, float],
    quantized: "Quantized | None" = None,
) -> Report:
    """Returns the page.

    Args:
        parity: Of the float32 model.
        model: What was written as model.onnx.
        limits: Largest difference, and share of flipped pixels, that were allowed.
        quantized: The INT8 model, when there is one: model.onnx itself, or beside it.
    """
    is_int8 = quantized is not None and quantized.model.path == model.path
    measured = quantized.measured if quantized is not None and is_int8 else parity
    megabytes = model.path.stat().st_size / 1e6
    report = Report("Export", f"model.onnx, {megabytes:.1f} MB, {model.digest}")
    report.tiles(
        [
            ("largest difference of a probability", f"{parity.max_difference:.1e}"),
            ("pixels with another class", parity.flipped),
            ("pixels compared", parity.pixels),
            ("IoU of the model on test", measured.model_iou),
            ("ms an image (checkpoint)", f"{parity.checkpoint_ms:.1f}"),
            ("ms an image (model)", f"{measured.model_ms:.1f}"),
        ]
    )
    report.notice(
        f"The model computes what the checkpoint computes: at most {limits[0]:g} of "
        f"difference and {limits[1]:g} of the pixels were allowed. On the test set the "
        f"checkpoint has IoU {parity.checkpoint_iou:.6f}, the model {parity.model_iou:.6f}.",
        "good",
    )
    if quantized is not None:
        where = "Written as INT8" if is_int8 else f"{quantized.model.path.name}, INT8, beside it,"
        report.paragraph(
            f"{where} after that check: IoU on the test set {quantized.measured.model_iou:.4f}, a "
            f"loss of {quantized.iou_loss:.4f}; {quantized.speed_up:.2f} times as fast here. The "
            "tables below are the float32 model's."
        )
        if is_int8 and not quantized.is_faster:
            report.notice(NOT_FASTER)
    header = ["", "largest difference", "flipped pixels", "pixels"]
    report.section(
        "Sizes", "Validation images brought to each size, alone and in a batch; odd ones included."
    )
    report.table(
        header, [(c.name, f"{c.max_difference:.1e}", c.flipped, c.pixels) for c in parity.sizes]
    )
    worst = sorted(parity.images, key=lambda c: (-c.flipped, -c.max_difference, c.name))[:SHOWN]
    report.section(
        "Test images",
        f"All {len(parity.images)} at their source size; those that differ most first.",
    )
    report.table(header, [(c.name, f"{c.max_difference:.1e}", c.flipped, c.pixels) for c in worst])
    _add_contract(report, model)
    return report


def _add_contract(report: Report, model: OnnxModel) -> None:
    contract = model.contract
    spec = contract.input
    report.section(
        "Contract", "Written inside model.onnx: whoever has the file needs nothing else."
    )
    size = f"{spec.size[0]} x {spec.size[1]}"
    if spec.size_policy == "resize":
        policy = f"resize: every image is brought to {size} inside the graph"
    else:
        policy = f"native: images keep their size (trained at {size})"
    kind = f"binary, threshold {contract.threshold:.3g}" if contract.is_binary else "multiclass"
    report.key_values(
        [
            ("input", "image: uint8 RGB (N, H, W, 3), any N, H and W"),
            ("output", f"probability: float32 (N, {contract.channels}, h, w), {kind}"),
            ("size policy", policy),
            ("mean, std", f"{spec.mean}, {spec.std}"),
            *sorted(contract.provenance.items()),
        ]
    )
    report.legend((label.name, label.colour) for label in contract.label_map.classes)
