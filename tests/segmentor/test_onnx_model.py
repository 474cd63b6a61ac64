from pathlib import Path

import numpy as np
import pytest
from builders import STREET, write_model

from segmentor.digests import digest_file
from segmentor.errors import ContractError
from segmentor.onnx_model import CPU, CUDA, OnnxModel


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.onnx", STREET)


def test_a_file_and_its_folder_are_the_same_model(model_file):
    for path in (model_file, model_file.parent):
        model = OnnxModel(path)
        assert model.digest == digest_file(model_file)
        assert model.contract.label_map == STREET


def test_forward_takes_batches_of_any_size_and_gives_probabilities(model_file):
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)
    forward = OnnxModel(model_file, threads=1).forward
    probability = forward(images)
    assert probability.shape == (3, 3, 64, 96)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(forward(images[:1]), probability[:1], atol=1e-6)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(ContractError, match="no such file, expected an ONNX model; run the export"):
        OnnxModel(tmp_path)


def test_what_is_no_onnx_model_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08junk" * 20)
    with pytest.raises(ContractError, match="not a loadable ONNX model"):
        OnnxModel(tmp_path)


def test_a_model_without_a_contract_is_refused(model_file, tmp_path):
    import onnx

    model = onnx.load(model_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ContractError, match="without a contract"):
        OnnxModel(tmp_path)


def test_a_provider_that_is_not_installed_is_refused(model_file):
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ContractError, match=CUDA):
        OnnxModel(model_file, provider=CUDA)


def test_a_provider_that_does_not_start_is_refused_and_not_replaced_by_the_cpu(
    model_file, monkeypatch
):
    """As onnxruntime-gpu on a machine without a GPU, which lists CUDA and then takes the CPU."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    told = f"{CUDA} does not start here, onnxruntime took {CPU}"
    with pytest.warns(UserWarning, match=CUDA), pytest.raises(ContractError, match=told):
        OnnxModel(model_file, provider=CUDA)
