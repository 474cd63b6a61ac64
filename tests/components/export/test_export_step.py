import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from builders import ROAD, STREET, scenes, write_checkpoint, write_dataset

from components.export.__main__ import main
from components.export.export_report import build_report
from components.export.int8_model import Quantized, put_in_place, require_harmless, write_int8
from components.export.onnx_file import load_for_export, write_model
from components.export.parity import Comparison, Parity, check_parity, measure_parity
from components.export.quantization import calibration_pixels
from segmentor import tiling
from segmentor.contract import METADATA_KEY, ModelContract
from segmentor.dataset import Dataset
from segmentor.digests import digest_file
from segmentor.errors import ContractError
from segmentor.image_io import encode_png
from segmentor.inference import decode_for, mask_of, predict_mask
from segmentor.metrics import confusion_matrix, dataset_iou
from segmentor.nn.checkpoint import checkpoint_digest, load_checkpoint
from segmentor.nn.deployable import as_forward
from segmentor.onnx_model import OnnxModel
from segmentor.openvino_model import compile_forward

SIZE = (75, 113)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, val and test."""
    folder = tmp_path_factory.mktemp("run")
    write_checkpoint(folder / "checkpoint", ROAD, steps=15)
    write_dataset(folder / "val", scenes(2, ROAD, SIZE, 20))
    write_dataset(folder / "test", scenes(4, ROAD, SIZE))
    return folder


def run(inputs: Path, outputs: Path, *flags: str) -> int:
    return main(
        [
            *(f"--{name}={inputs / name}" for name in ("checkpoint", "val", "test")),
            *(f"--{name}={outputs / name}" for name in ("model", "parity", "export-report")),
            *flags,
        ]
    )


@pytest.fixture(scope="module")
def outputs(folder: Path) -> Path:
    assert run(folder, folder / "outputs") == 0
    return folder / "outputs"


def test_the_model_gives_the_masks_of_the_checkpoint(folder: Path, outputs: Path) -> None:
    checkpoint, model = load_checkpoint(folder / "checkpoint"), OnnxModel(outputs / "model")
    forward = as_forward(checkpoint.deployable())
    for _, image, _, _ in scenes(3, ROAD, (50, 81), 40):
        content = encode_png(image)
        assert np.array_equal(
            predict_mask(forward, checkpoint.contract, content),
            predict_mask(model.forward, model.contract, content),
        )


def test_batch_height_and_width_are_free(outputs: Path) -> None:
    model = OnnxModel(outputs / "model")
    for shape in ((1, 1, 1, 3), (4, 33, 200, 3)):
        assert model.forward(np.zeros(shape, np.uint8)).shape == (shape[0], 1, 64, 96)


def test_the_contract_in_the_file_names_the_checkpoint_and_what_wrote_it(
    folder: Path, outputs: Path
) -> None:
    trained = load_checkpoint(folder / "checkpoint").contract
    contract = OnnxModel(outputs / "model").contract
    assert replace(contract, provenance=trained.provenance) == trained
    assert contract.provenance["run_id"] == "test"
    assert contract.provenance["checkpoint_digest"] == checkpoint_digest(folder / "checkpoint")
    assert contract.provenance["opset"] == 20
    assert {"torch", "onnxruntime", "segmentor"} <= set(contract.provenance)


def test_nothing_of_this_machine_is_in_the_file(outputs: Path, repository: Path) -> None:
    content = (outputs / "model" / "model.onnx").read_bytes()
    for text in (str(repository), "stack_trace", "deployable.py"):
        assert text.encode() not in content


def test_the_parity_figures_cover_four_sizes_and_every_test_image(outputs: Path) -> None:
    parity = json.loads((outputs / "parity").read_text())
    assert parity["sizes"] >= 4
    assert parity["images"] == 4
    assert parity["max_probability_difference"] < 1e-4
    assert parity["flipped_pixels"] == 0
    assert parity["pixels"] > 4 * SIZE[0] * SIZE[1]
    assert parity["iou"] == parity["checkpoint_iou"] > 0.3
    assert parity["model_digest"] == digest_file(outputs / "model" / "model.onnx")
    assert "The model computes what the checkpoint computes" in (
        (outputs / "export-report").read_text()
    )


def test_a_limit_that_is_exceeded_leaves_no_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path, "--max-probability-difference=0") == 3
    captured = capsys.readouterr()
    assert "a probability that differs by" in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_bytes(
    folder: Path, outputs: Path, tmp_path: Path
) -> None:
    write_model(tmp_path / "model.onnx", load_for_export(folder / "checkpoint"))
    assert digest_file(tmp_path / "model.onnx") == digest_file(outputs / "model" / "model.onnx")


@pytest.mark.slow
def test_a_native_model_of_several_classes_answers_at_the_images_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "checkpoint", STREET)
    for subset in ("val", "test"):
        write_dataset(tmp_path / subset, scenes(1, STREET, SIZE), STREET)
    assert run(tmp_path, tmp_path, "--size-policy=native") == 0
    model = OnnxModel(tmp_path / "model")
    assert model.contract.input.size_policy == "native"
    assert model.forward(np.zeros((2, 33, 71, 3), np.uint8)).shape == (2, 3, 33, 71)
    # Larger images than a tile: compared as they are served, and calibrated on a part of them.
    monkeypatch.setattr(tiling, "TILE", 288)
    large = write_dataset(tmp_path / "large", scenes(1, STREET, (300, 500)), STREET)
    calibrated = [calibration_pixels(model.contract, large, one).shape for one in large.samples]
    assert calibrated == [(288, 288, 3)]
    sizes = []
    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: (
            sizes.append(given[0].shape[-2:]) if hasattr(module, "segmentation_head") else None
        )
    )
    checkpoint = load_for_export(tmp_path / "checkpoint", "native")
    parity = measure_parity(checkpoint, model, tmp_path / "val", tmp_path / "large")
    handle.remove()
    assert parity.pixels > 300 * 500
    assert parity.max_difference < 1e-4
    assert max(height * width for height, width in sizes) <= 288**2


@pytest.mark.slow
def test_a_native_model_may_have_an_encoder_that_pads_as_tensorflow_does(tmp_path: Path) -> None:
    network = {"architecture": "unet", "encoder": "tu-tf_mobilenetv3_small_minimal_100"}
    write_checkpoint(tmp_path / "checkpoint", network=network, size_policy="native")
    checkpoint = load_for_export(tmp_path / "checkpoint")
    write_model(tmp_path / "model.onnx", checkpoint)
    model, forward = OnnxModel(tmp_path / "model.onnx"), as_forward(checkpoint.deployable())
    for height, width in ((33, 71), (64, 96), (95, 130)):
        images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        assert np.abs(model.forward(images) - forward(images)).max() < 1e-4


def test_a_model_whose_weights_were_changed_is_caught(
    folder: Path, outputs: Path, tmp_path: Path
) -> None:
    checkpoint = load_for_export(folder / "checkpoint")
    changed = onnx.load(outputs / "model" / "model.onnx")
    weights = next(w for w in changed.graph.initializer if len(w.dims) == 4)
    values = onnx.numpy_helper.to_array(weights) * 1.05
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(changed, tmp_path / "model.onnx")
    parity = measure_parity(
        checkpoint, OnnxModel(tmp_path / "model.onnx"), folder / "val", folder / "test"
    )
    with pytest.raises(ContractError, match="a probability that differs by"):
        check_parity(parity, 1e-4, 1e-5)


def test_int8_beside_the_model_is_smaller_and_nearly_as_good(
    folder: Path, int8: tuple[OnnxModel, Parity, Quantized]
) -> None:
    model, parity, quantized = int8
    assert quantized.model.path == model.path.with_name("model.int8.onnx")
    assert quantized.model.path.stat().st_size < model.path.stat().st_size * 2 / 3
    contract = quantized.model.contract
    assert contract.provenance["model_precision"] == "int8"
    assert contract.provenance["float32_digest"] == model.digest
    in_openvino = quantized.openvino
    assert contract.provenance["openvino_iou_loss"] == parity.model_iou - in_openvino.iou
    assert contract.provenance["openvino_flipped_fraction"] == in_openvino.flipped_fraction
    forward = compile_forward(quantized.model.path, 1)
    test = Dataset(folder / "test")
    masks = [
        mask_of(forward, contract, *decode_for(contract, test.image_content(sample)))
        for sample in test.samples
    ]
    pairs = zip(test.samples, masks, strict=True)
    confusion = sum(confusion_matrix(test.mask(sample), mask, 2) for sample, mask in pairs)
    assert in_openvino.iou == dataset_iou(confusion, True)
    assert replace(contract, provenance={}) == replace(model.contract, provenance={})
    assert quantized.figures()["int8_iou"] == pytest.approx(parity.model_iou, abs=0.05)
    assert OnnxModel(model.path).digest == model.digest
    assert (
        "model.int8.onnx, INT8, beside it"
        in build_report(parity, model, (1e-4, 1e-5), quantized).html()
    )


def test_int8_in_place_of_the_model(
    folder: Path, int8: tuple[OnnxModel, Parity, Quantized], tmp_path: Path
) -> None:
    parity, quantized = int8[1:]
    shutil.copytree(int8[0].path.parent, tmp_path / "model")
    copied = replace(quantized, model=OnnxModel(tmp_path / "model" / "model.int8.onnx"))
    quantized = put_in_place(copied, OnnxModel(tmp_path / "model"))
    figures = quantized.figures_in_place(parity)
    assert figures["model_digest"] == digest_file(tmp_path / "model" / "model.onnx")
    # Figures of the file with this digest; the float32 model's have names of their own.
    again = measure_parity(
        load_for_export(folder / "checkpoint"), quantized.model, folder / "val", folder / "test"
    )
    assert figures["max_probability_difference"] == pytest.approx(again.max_difference)
    assert figures["flipped_pixels"] == again.flipped > 0
    assert figures["flipped_fraction"] == again.flipped / again.pixels
    assert figures["iou"] == again.model_iou
    assert figures["float32_max_probability_difference"] == parity.max_difference < 1e-4
    assert figures["float32_flipped_pixels"] == parity.flipped
    assert figures["float32_iou"] == parity.model_iou
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "model.onnx",
        "model_card.md",
    ]
    slow = replace(quantized, speed_up=0.97)
    report = build_report(parity, quantized.model, (1e-4, 1e-5), slow)
    page = report.html()
    assert "Written as INT8 after that check" in page
    assert "The float32 model that this INT8 one was made of computes what" in page
    assert f"{quantized.measured.max_difference:.1e}" in page
    worst = max(quantized.measured.images, key=lambda comparison: comparison.flipped)
    assert f">{worst.flipped}<" in page
    # It has lost IoU for nothing: who chose it should know, on the terminal too.
    assert "INT8 is not faster than float32 in onnxruntime" in report.metadata()["warnings"]
    fast = build_report(parity, quantized.model, (1e-4, 1e-5), replace(quantized, speed_up=1.5))
    assert fast.metadata() == {}


@pytest.mark.parametrize("worse", ["openvino", "onnxruntime"])
def test_int8_that_loses_too_much_in_one_runtime_is_refused(
    int8: tuple[OnnxModel, Parity, Quantized], tmp_path: Path, worse: str
) -> None:
    _, parity, quantized = int8
    require_harmless(quantized, 0.05)
    copy = shutil.copy(quantized.model.path, tmp_path)
    if worse == "openvino":
        wrong = replace(quantized.openvino, iou=parity.model_iou - 0.06)
        found = replace(quantized, model=OnnxModel(Path(copy)), openvino=wrong)
    else:
        flat = replace(quantized.measured, confusions=np.ones_like(parity.confusions))
        found = replace(quantized, model=OnnxModel(Path(copy)), measured=flat)
    with pytest.raises(
        ContractError, match="INT8: a loss of IoU of .* in onnxruntime, .* in OpenV"
    ):
        require_harmless(found, 0.05)
    assert not Path(copy).exists()


def test_int8_whose_loss_cannot_be_measured_is_refused_with_the_reason(
    folder: Path, outputs: Path, tmp_path: Path
) -> None:
    shutil.copytree(outputs / "model", tmp_path / "model")
    flat = ((name, image, mask * 0, group) for name, image, mask, group in scenes(2, ROAD, SIZE))
    write_dataset(tmp_path / "test", flat, ROAD)
    checkpoint, model = load_for_export(folder / "checkpoint"), OnnxModel(tmp_path / "model")
    sets = folder / "val", tmp_path / "test"
    parity = measure_parity(checkpoint, model, *sets)
    with pytest.raises(ContractError, match="a test set without true pixels"):
        write_int8(checkpoint, model, parity, *sets, 0.01)


@pytest.fixture(scope="module")
def int8(
    folder: Path, outputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[OnnxModel, Parity, Quantized]:
    """The float32 model, its parity, and the INT8 model beside it."""
    target = tmp_path_factory.mktemp("int8")
    shutil.copytree(outputs / "model", target / "model")
    checkpoint, model = load_for_export(folder / "checkpoint"), OnnxModel(target / "model")
    sets = folder / "val", folder / "test"
    parity = measure_parity(checkpoint, model, *sets)
    return model, parity, write_int8(checkpoint, model, parity, *sets, 0.05)


@pytest.mark.slow
def test_both_precisions_of_a_native_model(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint", steps=15)
    write_dataset(tmp_path / "val", scenes(3, ROAD, SIZE, 20))
    write_dataset(tmp_path / "test", scenes(2, ROAD, SIZE))
    flags = ("--size-policy=native", "--export-precision=both", "--max-iou-loss=0.1")
    assert run(tmp_path, tmp_path, *flags) == 0
    int8 = OnnxModel(tmp_path / "model" / "model.int8.onnx")
    assert int8.contract.input.size_policy == "native"
    assert int8.forward(np.zeros((2, 33, 71, 3), np.uint8)).shape == (2, 1, 33, 71)
    assert {"int8_iou", "int8_iou_loss", "int8_speed_up"} <= set(
        json.loads((tmp_path / "parity").read_text())
    )
    card = (tmp_path / "model" / "model_card.md").read_text()
    assert f"`model.int8.onnx` (`{int8.digest}`) is INT8" in card


def test_a_model_card_lies_beside_the_model(outputs: Path) -> None:
    card = (outputs / "model" / "model_card.md").read_text()
    parity = json.loads((outputs / "parity").read_text())
    assert f"| road | {parity['iou']:.4f} |" in card
    for text in (parity["model_digest"], "2 groups", "resize", "threshold 0.5", "ONNX opset 20"):
        assert text in card
    assert re.search(r"Expected calibration error 0\.\d{4}", card)


def parity_of(max_difference: float, flipped: int) -> Parity:
    comparison = Comparison("street", max_difference, flipped, 200_000)
    confusions = np.ones((2, 1, 2, 2), np.int64)
    return Parity(
        (), (comparison,), ("drive",), confusions, np.zeros((3, 15)), True, 1.0, 1.0, "sha256:0"
    )


@pytest.mark.parametrize(
    ("max_difference", "flipped", "max_flipped"),
    [(2e-4, 0, 1e-5), (float("nan"), 0, 1e-5), (0.0, 3, 1e-5), (0.0, 1, 0.0)],
)
def test_parity_refuses(max_difference: float, flipped: int, max_flipped: float) -> None:
    with pytest.raises(ContractError, match="street"):
        check_parity(parity_of(max_difference, flipped), 1e-4, max_flipped)


@pytest.mark.parametrize("flipped", [0, 1, 2])
def test_parity_allows_what_is_within_the_limits(flipped: int) -> None:
    check_parity(parity_of(1e-4, flipped), 1e-4, 1e-5)


def test_the_metadata_is_the_contract_and_nothing_else(outputs: Path) -> None:
    model = onnx.load(outputs / "model" / "model.onnx")
    assert [item.key for item in model.metadata_props] == [METADATA_KEY]
    ModelContract.from_text(model.metadata_props[0].value)
    onnx.checker.check_model(model)
