"""A ServingRuntime that an overlay made, with a faster engine, and a deployment onto it."""

import json
from dataclasses import replace

import onnx
import pytest

from components.deploy.deployment import deploy
from segmentor.contract import METADATA_KEY
from segmentor.onnx_model import INT8_FILE, OnnxModel
from tests.builders import scenes, write_dataset
from tests.components.deploy.deploy_builders import serving_runtime, write_artifacts, write_model

# Of 255: the red from which a pixel is road. Between these two lie 90 of 36,864 drawn pixels.
EXACT_THRESHOLD, INT8_THRESHOLD = 137.5, 136.5


def _write_int8(model, folder) -> None:
    """Write, in the place of the INT8 model, one that changes 0.24 % of the pixels."""
    exact = OnnxModel(model)
    write_model(folder, gain=127.5 / INT8_THRESHOLD)
    measured = {"float32_digest": exact.digest, "openvino_iou_loss": 0.0}
    contract = replace(exact.contract, provenance=measured)
    value = onnx.load(folder / "model.onnx")
    onnx.helper.set_model_props(value, {METADATA_KEY: json.dumps(contract.to_json())})
    onnx.save(value, model / INT8_FILE)


def test_a_deployment_keeps_the_overlays_engine_and_grants_it_its_limit(
    api_server, plan, store, tmp_path, caplog
):
    caplog.set_level("INFO")
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    from segmentor.openvino_model import capabilities

    if "INT8" not in capabilities():
        pytest.skip("the processor has no INT8 instructions")
    overlay = serving_runtime("registry.example/segmentor-predictor:old")
    (container,) = overlay["spec"]["containers"]
    container["args"].append("--engine=openvino-int8")
    container["resources"]["limits"]["memory"] = "3Gi"
    overlay["spec"]["tolerations"] = [{"key": "fast", "operator": "Exists"}]
    assert api_server.apply(overlay).status_code == 200

    write_dataset(tmp_path / "test", scenes(6))
    for version in ("v1", "v2"):
        artifacts = write_artifacts(tmp_path / version, gain=127.5 / EXACT_THRESHOLD)
        _write_int8(artifacts[0], tmp_path / version / "int8")
        deploy(*artifacts, replace(plan, version=version, test=tmp_path / "test"))
        assert "golden engine=openvino-int8 images=6 pixels=36864 flipped=90" in caplog.text
        caplog.clear()
        assert api_server.runtime()["spec"] == overlay["spec"]
        assert api_server.deployed_image() == plan.predictor_image
