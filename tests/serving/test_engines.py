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
    monkeypatch.setattr("serving.engines._unsupported", lambda engine: "no bf16 instructions")
    served = load_model(ModelSource("scene", str(street_model), engine="openvino-bf16"))
    assert served.engine == "onnxruntime"
    assert "engine refused" in caplog.text


def test_samples_kept_with_the_model_are_compared(street_model, tmp_path, scene):
    (tmp_path / "model.onnx").write_bytes((street_model / "model.onnx").read_bytes())
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.png").write_bytes(encode_png(scene))
    seen = []
    exact = OnnxModel(tmp_path)

    def forward(images):
        seen.append(images.shape)
        return exact.forward(images)

    assert flipped_fraction(forward, exact) == 0
    assert seen == [(1, *scene.shape)]
