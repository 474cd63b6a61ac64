"""A predictor takes requests only after it has reproduced the masks that were evaluated."""

import json
import logging
import shutil

import numpy as np
import pytest
from free_ports import free_port
from running_predictor import start_predictor

from segmentor.digests import digest_bytes
from segmentor.errors import ContractError
from segmentor.golden_images import NATIVE_SIDE, decode_golden, golden_mask
from segmentor.image_io import decode_index, encode_index, encode_png
from segmentor.inference import predict_mask
from segmentor.onnx_model import OnnxModel
from serving.engines.loading import ModelSource, load_model


@pytest.fixture
def published(street_model, tmp_path, scene):
    """A folder as deploy publishes it, with one golden image."""
    shutil.copy(street_model / "model.onnx", tmp_path)
    model, content = OnnxModel(tmp_path), encode_png(scene)
    mask = golden_mask(model.forward, model.contract, content, "00.png")
    folder = tmp_path / "samples"
    (folder / "expected").mkdir(parents=True)
    (folder / "00.png").write_bytes(content)
    _publish(tmp_path, mask)
    return tmp_path


def _publish(folder, mask, limit=1e-5) -> None:
    expected = encode_index(mask)
    (folder / "samples/expected/00.png").write_bytes(expected)
    digests = {
        "00.png": digest_bytes((folder / "samples/00.png").read_bytes()),
        "expected/00.png": digest_bytes(expected),
    }
    record = {"samples": digests, "max_flipped_fraction": limit}
    (folder / "model.json").write_text(json.dumps(record))


def _flip(folder, pixels: int) -> np.ndarray:
    mask = decode_index((folder / "samples/expected/00.png").read_bytes(), "00.png").copy()
    mask.reshape(-1)[:pixels] = 1 - (mask.reshape(-1)[:pixels] > 0)
    return mask


def test_the_engine_that_was_evaluated_serves_and_logs_the_figure(published, caplog):
    caplog.set_level(logging.INFO)
    assert load_model(ModelSource("scene", str(published))).engine == "onnxruntime"
    (record,) = [r for r in caplog.records if r.msg == "golden images compared"]
    assert (record.images, record.flipped_fraction, record.limit) == (1, 0.0, 1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "fast"])
def test_other_masks_than_the_evaluated_ones_end_the_start(published, engine):
    if engine == "fast":
        pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    wrong = _flip(published, 4000)
    _publish(published, wrong)
    with pytest.raises(ContractError, match="golden images: 0.342 of the pixels differ from the"):
        load_model(ModelSource("scene", str(published), engine=engine))
    # As many as the version's own gate allowed.
    _publish(published, wrong, limit=0.9)
    assert load_model(ModelSource("scene", str(published))).engine == "onnxruntime"


def test_a_predictor_that_computes_something_else_never_opens_its_port(published, tmp_path):
    _publish(published, _flip(published, 4000))
    log = tmp_path / "log"
    port = f"--http_port={free_port()}"
    process = start_predictor(["--model_name=scene", f"--model_dir={published}", port], log)
    assert process.wait(200) == 3
    last = log.read_text().strip().splitlines()[-1]
    assert last.startswith("error: golden images: ")
    assert '"ready"' not in log.read_text()


def test_a_version_without_expected_masks_serves_and_says_so(published, caplog):
    shutil.rmtree(published / "samples/expected")
    assert load_model(ModelSource("scene", str(published))).engine == "onnxruntime"
    assert "no golden images beside the model" in caplog.text


def test_a_damaged_expected_mask_ends_the_start(published):
    (published / "samples/expected/00.png").write_bytes(b"x")
    with pytest.raises(ContractError, match=r"expected/00\.png: digest"):
        load_model(ModelSource("scene", str(published)))


def test_of_a_native_model_the_middle_is_compared(road_model):
    model = OnnxModel(road_model)
    assert model.contract.input.size_policy == "native"
    noise = np.random.default_rng(0).integers(0, 255, (600, 700, 3), np.uint8)
    content = encode_png(noise)
    part = decode_golden(model.contract, content, "0.png")
    assert part.size == (NATIVE_SIDE, NATIVE_SIDE)
    assert part.image_size == (600, 700)
    whole = predict_mask(model.forward, model.contract, content)
    mask = golden_mask(model.forward, model.contract, content, "0.png")
    assert mask.shape == whole[part.window].shape == part.size
