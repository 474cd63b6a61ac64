"""The model card: what a model is, what it is worth, and what nobody has tried with it.

Source of its sections: Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.export.parity import Parity
from segmentor.bootstrap import FEW_GROUPS, class_intervals, interval, iou_statistic, sum_by_group
from segmentor.calibration import expected_calibration_error
from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.metrics import class_scores
from segmentor.nn.checkpoint import Checkpoint
from segmentor.onnx_model import OnnxModel
from segmentor.seen_data import seen_data_notice, split_findings

if TYPE_CHECKING:
    from components.export.int8_model import Quantized

CARD_FILE = "model_card.md"


def write_card(
    folder: Path,
    checkpoint: Checkpoint,
    model: OnnxModel,
    parity: Parity,
    val: Path,
    test: Path,
    quantized: "Quantized | None" = None,
) -> None:
    """Write the card into the model's folder."""
    lines = [
        *_header(checkpoint, model),
        *data_section(model.contract, Dataset(val), Dataset(test)),
        *_figures(model, parity),
        *_int8(model, quantized),
        *_limits(model, parity, Dataset(test)),
        *_contract(model),
    ]
    (folder / CARD_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _header(checkpoint: Checkpoint, model: OnnxModel) -> Iterator[str]:
    config, label_map = checkpoint.network_config, model.contract.label_map
    parameters = sum(parameter.numel() for parameter in checkpoint.network.parameters())
    yield f"# {config.architecture} with {config.encoder}: {', '.join(label_map.names)}"
    yield ""
    yield (
        f"Semantic segmentation of RGB images into {len(label_map)} classes. "
        f"{parameters / 1e6:.2f} M parameters, {model.path.stat().st_size / 1e6:.1f} MB."
    )
    yield ""
    yield f"File: `{model.path.name}`, `{model.digest}`"
    yield ""


def data_section(contract: ModelContract, val: Dataset, test: Dataset) -> Iterator[str]:
    """Yield the lines that say what it learned from, and what it was chosen and measured on."""
    provenance = contract.provenance
    yield "## Data"
    yield ""
    yield "| set | images | groups | digest |"
    yield "|---|---|---|---|"
    # Checkpoints of earlier versions did not record these.
    train = [provenance.get(f"train_{key}", "?") for key in ("images", "groups", "dataset_digest")]
    yield f"| train | {' | '.join(map(str, train))} |"
    for name, dataset in (("val", val), ("test", test)):
        groups = dataset.manifest["groups"]
        yield f"| {name} | {len(dataset)} | {groups} | {dataset.digest} |"
    yield ""
    seen = seen_data_notice(contract, test.digest)
    if seen:
        yield f"**{seen}**"
    else:
        yield from _leaks(val, test)
    yield ""
    if provenance.get("val_dataset_digest", val.digest) != val.digest:
        yield "The val set above is not the one that the checkpoint was chosen on (see Contract)."
        yield ""


def _leaks(val: Dataset, test: Dataset) -> Iterator[str]:
    """Yield what is known of images that are in two sets, or nearly."""
    found = split_findings(test)
    sources = [dataset.manifest["provenance"].get("source_digest") for dataset in (val, test)]
    if not found.is_known or sources[0] != sources[1]:
        yield (
            "Whether images of one drive, site or patient are in two sets is not known: val and "
            "test are not from one run of the split step."
        )
        return
    for text in found.leaks:
        yield f"**{text}** Intervals below are too narrow."
        yield ""
    if test.manifest["groups"] == len(test):
        yield "Each image is its own group: nothing says which are of one drive, site or patient."
    elif not found.leaks:
        yield "No group (drive, site, patient) is in two sets."
    if found.not_compared:
        yield found.not_compared


def _figures(model: OnnxModel, parity: Parity) -> Iterator[str]:
    contract = model.contract
    confusions = parity.confusions[1]  # (N, K, K), of the exported model itself
    sums = sum_by_group(parity.groups, np.stack([_counts(matrix) for matrix in confusions]))
    scores = class_scores(confusions.sum(axis=0))
    low, high = interval(sums, iou_statistic(contract.is_binary))
    name = f"IoU of {contract.label_map.names[1]}" if contract.is_binary else "mean IoU"
    yield "## Figures on the test set"
    yield ""
    interval_text = f"95 % interval {_range(low, high)}, bootstrap over {len(sums)} groups"
    if len(sums) == 1:
        interval_text = "no interval: there is one group"
    yield f"{name} **{_figure(parity.model_iou)}** ({interval_text}), measured on this file."
    yield ""
    yield "| class | IoU | 95 % interval | Dice | precision | recall | true pixels |"
    yield "|---|---|---|---|---|---|---|"
    for index, (label, bounds) in enumerate(
        zip(contract.label_map.names, class_intervals(sums), strict=True)
    ):
        cells = [_figure(scores.iou[index]), _range(*bounds)]
        columns = (scores.dice, scores.precision, scores.recall)
        cells += [_figure(column[index]) for column in columns]
        yield f"| {label} | {' | '.join(cells)} | {scores.support[index]:,} |"
    yield ""
    error = expected_calibration_error(parity.confidence)
    yield (
        f"Expected calibration error {_figure(error)}: how far the probability is from the share "
        "of pixels that are right, on average."
    )
    yield ""
    precision = contract.provenance.get("model_precision", "float32")
    yield (
        f"{precision.capitalize()} against the checkpoint: largest difference of a probability "
        f"{parity.max_difference:.1e}, {parity.flipped} of {parity.pixels:,} pixels with another "
        f"class. {parity.model_ms:.1f} ms an image (median, CPU, where it was exported)."
    )
    yield ""


def _int8(model: OnnxModel, quantized: "Quantized | None") -> Iterator[str]:
    if quantized is None:
        return
    other = quantized.model.path
    kind = "This file" if other == model.path else f"`{other.name}` (`{quantized.model.digest}`)"
    openvino = quantized.openvino
    yield (
        f"{kind} is INT8, made of the float32 model: on the test set IoU {openvino.iou:.4f} in "
        f"OpenVINO and {quantized.measured.model_iou:.4f} in onnxruntime, at worst "
        f"{_change(quantized.iou_loss)}. On the machine that exported it, it is "
        f"{openvino.speed_up:.2f} times as fast in OpenVINO as float32 in onnxruntime, and in "
        f"onnxruntime {quantized.speed_up:.2f} times."
    )
    yield ""


def _change(loss: float) -> str:
    return f"{abs(loss):.4f} {'less' if loss >= 0 else 'more'}"


def _limits(model: OnnxModel, parity: Parity, test: Dataset) -> Iterator[str]:
    contract = model.contract
    support = parity.confusions[1].sum(axis=(0, 2))
    names = contract.label_map.names
    absent = [n for n, pixels in zip(names, support, strict=True) if not pixels]
    lost = lost_classes(names, parity.confusions[1].sum(axis=0))
    heights = [sample.height for sample in test.iter_samples()]
    widths = [sample.width for sample in test.iter_samples()]
    groups = len(set(parity.groups))
    yield "## Limits"
    yield ""
    yield (
        f"* Tested on images of {_span(heights)} pixels in height and {_span(widths)} in width; "
        "nothing is known of others."
    )
    yield (
        "* It names one of its classes for every pixel of any picture, also of one unlike those "
        "it was trained on."
    )
    if absent:
        yield (
            f"* Not measured, and in no mean above: {', '.join(absent)}. The test set has no true "
            "pixels of it."
        )
    if lost:
        yield f"* Never predicted, though the test set has them, so IoU 0: {', '.join(lost)}."
    if groups == 1:
        yield "* The test set is one group: how far the figures hold for others is not known."
    elif groups < FEW_GROUPS:
        yield f"* The test set has {groups} groups: the intervals are narrower than the truth."
    yield ""


def lost_classes(names: Sequence[str], confusion: NDArray[np.int64]) -> list[str]:
    """Return the classes that have true pixels and are predicted for none."""
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return [name for name, t, p in zip(names, true, predicted, strict=True) if t and not p]


def _span(lengths: list[int]) -> str:
    low, high = min(lengths), max(lengths)
    return f"{low}" if low == high else f"{low} to {high}"


def _contract(model: OnnxModel) -> Iterator[str]:
    contract = model.contract
    spec = contract.input
    kind = f"binary, threshold {contract.threshold:.3g}" if contract.is_binary else "multiclass"
    yield "## Contract"
    yield ""
    yield "* input `image`: uint8 RGB (N, H, W, 3), any N, H and W"
    yield f"* output `probability`: float32 (N, {contract.channels}, h, w), {kind}"
    yield f"* size policy {spec.size_policy}, trained at {spec.size[0]} x {spec.size[1]}"
    yield f"* ONNX opset {contract.provenance['opset']}"
    yield ""
    yield "| provenance | |"
    yield "|---|---|"
    for key, value in sorted(contract.provenance.items()):
        yield f"| {key} | {value} |"


def _counts(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    hits = np.diag(confusion)
    return np.stack([hits, confusion.sum(axis=0) - hits, confusion.sum(axis=1) - hits], axis=1)


def _figure(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.4f}"


def _range(low: float, high: float) -> str:
    return "none" if np.isnan(low) else f"{low:.4f} to {high:.4f}"
