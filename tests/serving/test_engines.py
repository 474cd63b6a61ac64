import numpy as np
import pytest

from segmentor.image_io import encode_png
from segmentor.onnx_model import OnnxModel
from serving.engines import choose_engine, flipped_fraction
from serving.served_model import ModelSource, load_model

openvino = pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")


def test_openvino_in_fp32_gives_the_masks_of_onnxruntime(street_model, scene):
    exact = OnnxModel(street_model)
    engine, forward = choose_engine("openvino", exact, threads=1, streams=1)
    assert engine == "openvino"
    np.testing.assert_allclose(forward(scene[None]), exact.forward(scene[None]), atol=1e-4)


def test_openvino_runs_native_models_at_changing_sizes(road_model):
    exact = OnnxModel(road_model)
    _, forward = choose_engine("openvino", exact, threads=1, streams=1)
    for size in ((33, 65), (64, 64), (1, 1)):
        image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
        np.testing.assert_allclose(forward(image), exact.forward(image), atol=1e-4)


def test_an_engine_that_disagrees_is_refused_and_the_exact_one_serves(
    street_model, monkeypatch, caplog
):
    exact = OnnxModel(street_model)
    monkeypatch.setattr(
        "serving.engines._openvino_forward", lambda *_: lambda images: 1 - exact.forward(images)
    )
    engine, forward = choose_engine("openvino", exact, threads=1, streams=1)
    assert engine == "onnxruntime"
    assert forward == exact.forward
    assert "engine refused" in caplog.text


def test_a_processor_without_bf16_serves_fp32(street_model, monkeypatch, caplog):
    monkeypatch.setattr("serving.engines._unsupported", lambda *_: "no bf16 instructions")
    served = load_model(ModelSource("scene", str(street_model), engine="openvino-bf16"))
    assert served.engine == "onnxruntime"
    assert "engine refused" in caplog.text


def test_bf16_needs_images_to_be_compared_on(street_model, tmp_path, scene, caplog):
    (tmp_path / "model.onnx").write_bytes((street_model / "model.onnx").read_bytes())
    caplog.set_level("INFO")
    source = ModelSource("scene", str(tmp_path), engine="openvino-bf16")
    assert load_model(source).engine == "onnxruntime"
    refused = next(record for record in caplog.records if record.msg == "engine refused")
    assert "samples/" in refused.reason or "no bf16 instructions" in refused.reason
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.png").write_bytes(encode_png(scene))
    caplog.clear()
    load_model(source)
    said = " ".join(str(vars(record)) for record in caplog.records)
    assert "flipped_fraction" in said or "no bf16 instructions" in said


def test_the_share_of_changed_pixels_is_measured(street_model, scene):
    exact = OnnxModel(street_model)
    assert flipped_fraction(exact.forward, exact, [scene, scene[:40]]) == 0
    turned = flipped_fraction(lambda images: 1 - exact.forward(images), exact, [scene])
    assert turned > 0.9
