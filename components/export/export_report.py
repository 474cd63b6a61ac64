"""The export report: what was written, and how equal it is to the checkpoint.

The figures are of the file that the page names, model.onnx. Those of a float32 model that it was
quantised from are called so.
"""

from typing import TYPE_CHECKING

from components.export.parity import Parity
from segmentor.onnx_model import OnnxModel
from segmentor.plurals import counted
from segmentor.report import Report

if TYPE_CHECKING:
    from components.export.int8_model import Quantized

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
    """Return the page.

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
            ("largest difference of a probability", f"{measured.max_difference:.1e}"),
            ("pixels with another class", measured.flipped),
            ("pixels compared", measured.pixels),
            ("IoU of the model on test", measured.model_iou),
            ("ms an image (checkpoint)", f"{parity.checkpoint_ms:.1f}"),
            ("ms an image (model)", f"{measured.model_ms:.1f}"),
        ]
    )
    report.notice(_equality(parity, limits, is_int8), "good")
    if quantized is not None:
        _add_int8(report, quantized, is_int8)
    header = ["", "largest difference", "flipped pixels", "pixels"]
    report.section(
        "Sizes", "Validation images brought to each size, alone and in a batch; odd ones included."
    )
    report.table(
        header, [(c.name, f"{c.max_difference:.1e}", c.flipped, c.pixels) for c in measured.sizes]
    )
    worst = sorted(measured.images, key=lambda c: (-c.flipped, -c.max_difference, c.name))[:SHOWN]
    report.section(
        "Test images",
        f"{counted(len(measured.images), 'image')}, each compared at its source size, the most "
        "different first.",
    )
    report.table(header, [(c.name, f"{c.max_difference:.1e}", c.flipped, c.pixels) for c in worst])
    _add_contract(report, model)
    return report


def _equality(parity: Parity, limits: tuple[float, float], is_int8: bool) -> str:
    subject = "The float32 model that this INT8 one was made of" if is_int8 else "The model"
    found = (
        f"Found: {parity.max_difference:.1e}, {counted(parity.flipped, 'pixel')}. "
        if is_int8
        else ""
    )
    name = "that model" if is_int8 else "the model"
    return (
        f"{subject} computes what the checkpoint computes: at most {limits[0]:g} of difference and "
        f"{limits[1]:g} of the pixels were allowed. {found}On the test set the "
        f"checkpoint has IoU {parity.checkpoint_iou:.6f}, {name} {parity.model_iou:.6f}."
    )


def _add_int8(report: Report, quantized: "Quantized", is_int8: bool) -> None:
    measured = quantized.measured
    openvino = quantized.openvino
    cost = (
        f"IoU on the test set {openvino.iou:.4f} in OpenVINO, where it is {openvino.speed_up:.2f} "
        f"times as fast as float32 in onnxruntime and {openvino.flipped_fraction:.2%} of the "
        f"pixels change class; {measured.model_iou:.4f} in onnxruntime, {quantized.speed_up:.2f} "
        f"times as fast. A loss of {quantized.iou_loss:.4f} at most."
    )
    if not is_int8:
        report.paragraph(
            f"{quantized.model.path.name}, INT8, beside it: {cost} A probability differs by up to "
            f"{measured.max_difference:.1e} from the checkpoint's, "
            f"{counted(measured.flipped, 'pixel has', 'pixels have')} another class. All other "
            "figures here are of model.onnx, float32."
        )
        return
    report.paragraph(f"Written as INT8 after that check: {cost} All figures here are its own.")
    if not quantized.is_faster:
        report.notice(NOT_FASTER)


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
