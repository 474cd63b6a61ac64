import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from prometheus_client import REGISTRY
from running_predictor import running_predictor

from segmentor.contract import METADATA_KEY
from segmentor.errors import ContractError
from segmentor.image_io import encode_png
from segmentor.object_uri import ObjectUri
from segmentor.onnx_model import INT8_FILE, OnnxModel
from segmentor.openvino_model import compile_forward
from serving.engines import choice
from serving.engines.choice import choose_engine
from serving.engines.loading import ModelSource, load_model

openvino = pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")


@pytest.fixture
def published(street_model, tmp_path, scene):
    """A folder as deploy publishes it: the model, its 'INT8' form, and an image."""
    shutil.copy(street_model / "model.onnx", tmp_path)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "0.png").write_bytes(encode_png(scene))
    write_int8(tmp_path, OnnxModel(tmp_path).digest)
    return tmp_path


def write_int8(folder, made_from, **loss):
    """Write a file in the place of the INT8 model: the same network, which says of what it is."""
    model = onnx.load(folder / "model.onnx")
    contract = OnnxModel(folder).contract
    provenance = {"float32_digest": made_from, **(loss or {"openvino_iou_loss": 0.0019})}
    contract = dataclasses.replace(contract, provenance=provenance)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(contract.to_json())})
    onnx.save(model, folder / INT8_FILE)


@pytest.fixture
def able(monkeypatch):
    """A processor with all instructions, where OpenVINO runs what this one has."""
    monkeypatch.setattr(choice, "capabilities", lambda: ("FP32", "INT8"))


def refusal(caplog) -> str:
    return next(record.reason for record in caplog.records if record.msg == "engine refused")


def test_openvino_in_fp32_gives_the_masks_of_onnxruntime(street_model, scene):
    exact = OnnxModel(street_model)
    engine, forward = choose_engine("openvino", exact, threads=1, streams=1)
    assert engine == "openvino"
    np.testing.assert_allclose(forward(scene[None]), exact.forward(scene[None]), atol=1e-4)


def test_no_exported_model_has_the_slow_softmax_of_onnxruntime(street_model):
    nodes = {node.op_type for node in onnx.load(street_model / "model.onnx").graph.node}
    assert "Exp" in nodes
    assert "Softmax" not in nodes


def test_openvino_runs_native_models_at_changing_sizes(road_model):
    exact = OnnxModel(road_model)
    _, forward = choose_engine("openvino", exact, threads=1, streams=1)
    for size in ((33, 65), (64, 64), (1, 1)):
        image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
        np.testing.assert_allclose(forward(image), exact.forward(image), atol=1e-4)


@pytest.mark.slow
def test_openvino_keeps_little_memory_for_the_sizes_it_has_seen(tmp_path):
    # By default 300 sizes take some 130 MiB more, and there is no end.
    write_convolutions(tmp_path / "model.onnx")
    forward = compile_forward(tmp_path / "model.onnx", threads=1)
    for turn in range(430):
        if turn == 130:
            before = rss_mib()
        forward(np.zeros((1, 32 + turn % 100 + 8 * (turn // 100), 232 - turn % 100, 3), np.uint8))
    assert rss_mib() - before < 80


def write_convolutions(path, count=16):
    """Write a chain of convolutions for images of any size."""
    generator = np.random.default_rng(0)
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["float"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    weights = []
    for turn in range(count):
        weight = generator.normal(0, 0.1, (32, 32 if turn else 3, 3, 3)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(weight, f"w{turn}"))
        nodes.append(node("Conv", [f"x{turn}", f"w{turn}"], [f"x{turn + 1}"], pads=[1] * 4))
    image = value("image", onnx.TensorProto.UINT8, ["n", "h", "w", 3])
    last = value(f"x{count}", onnx.TensorProto.FLOAT, ["n", 32, "h", "w"])
    graph = onnx.helper.make_graph(nodes, "convolutions", [image], [last], weights)
    versions = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=versions, ir_version=9), path)


def rss_mib() -> float:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def test_replies_metadata_and_metrics_name_the_engine(street_model, scene_png, tmp_path):
    with running_predictor(street_model, tmp_path, "--engine=openvino") as running:
        assert running.client.get("/v2/models/scene").json()["platform"] == "onnx_openvino"
        reply = running.client.post("/v1/models/scene:predict", content=scene_png)
        assert (reply.status_code, reply.headers["x-segmentor-engine"]) == (200, "openvino")
        assert 'engine="openvino"' in running.client.get("/metrics").text


DROPPED_IN_A_THREAD = """
import gc, signal, sys, threading
from pathlib import Path
from segmentor.openvino_model import capabilities, compile_forward

capabilities()
kept = [compile_forward(Path(sys.argv[1]), threads=1)]
drop = threading.Thread(target=lambda: (kept.clear(), gc.collect()))
drop.start()
drop.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_is_handled_after_a_model_was_freed_in_another_thread(street_model):
    command = [sys.executable, "-c", DROPPED_IN_A_THREAD, str(street_model / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_openvino_reports_to_nobody(tmp_path):
    code = (
        "import sys; from segmentor.openvino_model import capabilities; "
        "print(len(capabilities()), [m for m in sys.modules if 'openvino_telemetry.' in m])"
    )
    # In CI its telemetry is off by itself.
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    count, loaded = result.stdout.split(maxsplit=1)
    assert int(count) > 0
    assert loaded.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_disagrees_is_refused_and_the_exact_one_serves(
    street_model, monkeypatch, caplog
):
    exact = OnnxModel(street_model)
    monkeypatch.setattr(
        choice, "compile_forward", lambda *_: lambda images: 1 - exact.forward(images)
    )
    engine, forward = choose_engine("openvino", exact, threads=1, streams=1)
    assert engine == "onnxruntime"
    assert forward == exact.forward
    assert "of the pixels differ from fp32" in refusal(caplog)


def test_what_an_engine_changes_is_logged_and_measured(street_model, caplog):
    caplog.set_level("INFO")
    choose_engine("openvino", OnnxModel(street_model), threads=1, streams=1)
    compared = next(record for record in caplog.records if record.msg == "engine compared")
    assert (compared.engine, compared.images) == ("openvino", 4)
    labels = {"engine": "openvino"}
    assert REGISTRY.get_sample_value("segmentor_engine_flipped_fraction", labels) == (
        compared.flipped_fraction
    )


def test_a_processor_without_the_instructions_serves_fp32_and_says_so(
    published, monkeypatch, caplog
):
    monkeypatch.setattr(choice, "capabilities", lambda: ("FP32",))
    served = load_model(ModelSource("scene", str(published), engine="openvino-int8"))
    assert served.engine == "onnxruntime"
    assert "the processor has no INT8 instructions" in refusal(caplog)


def test_the_int8_file_is_served_when_it_agrees(published, able, scene):
    exact = OnnxModel(published)
    engine, forward = choose_engine("openvino-int8", exact, threads=1, streams=1)
    assert engine == "openvino-int8"
    np.testing.assert_allclose(forward(scene[None]), exact.forward(scene[None]), atol=1e-4)


def test_the_int8_file_of_another_model_is_refused(published, able, caplog):
    write_int8(published, "sha256:0")
    assert choose_engine("openvino-int8", OnnxModel(published), 1, 1)[0] == "onnxruntime"
    assert "was made from sha256:0" in refusal(caplog)
    (published / INT8_FILE).write_bytes(b"junk")
    caplog.clear()
    assert choose_engine("openvino-int8", OnnxModel(published), 1, 1)[0] == "onnxruntime"
    assert "not a loadable ONNX model" in refusal(caplog)
    (published / INT8_FILE).unlink()
    caplog.clear()
    assert choose_engine("openvino-int8", OnnxModel(published), 1, 1)[0] == "onnxruntime"
    assert "--export-precision both" in refusal(caplog)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        ({"openvino_iou_loss": 0.0021}, "it loses 0.0021 of IoU on the test set, at most 0.002"),
        ({"openvino_iou_loss": float("nan")}, "it loses nan of IoU"),
        ({"of_an_older_export": 1}, "was never measured in OpenVINO; export it again"),
    ],
)
def test_an_int8_file_that_export_did_not_find_harmless_is_refused(
    published, able, caplog, loss, reason
):
    write_int8(published, OnnxModel(published).digest, **loss)
    assert choose_engine("openvino-int8", OnnxModel(published), 1, 1)[0] == "onnxruntime"
    assert reason in refusal(caplog)


def test_fast_takes_the_first_that_agrees(published, able, monkeypatch):
    exact = OnnxModel(published)
    assert choose_engine("fast", exact, 1, 1)[0] == "openvino-int8"

    def compile_forward(path, threads, streams):
        flips = path.name == INT8_FILE
        return lambda images: abs(flips - exact.forward(images))

    monkeypatch.setattr(choice, "compile_forward", compile_forward)
    assert choose_engine("fast", exact, 1, 1)[0] == "openvino"
    (published / INT8_FILE).unlink()
    assert choose_engine("fast", exact, 1, 1)[0] == "openvino"


def test_int8_needs_images_to_be_compared_on(published, able, caplog):
    shutil.rmtree(published / "samples")
    source = ModelSource("scene", str(published), engine="openvino-int8")
    assert load_model(source).engine == "onnxruntime"
    assert "samples/" in refusal(caplog)


def test_a_damaged_sample_ends_the_start(published):
    (published / "model.json").write_text(json.dumps({"samples": {"0.png": "sha256:0"}}))
    with pytest.raises(ContractError, match=r"samples/0\.png.*expected sha256:0"):
        load_model(ModelSource("scene", str(published), engine="openvino"))


def test_int8_and_samples_come_with_a_model_of_an_object_store(
    published, able, store, store_environment, monkeypatch
):
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    store.ensure_bucket("models")
    store.upload_folder(published, ObjectUri.parse("s3://models/engines/v1"))
    source = ModelSource("scene", "s3://models/engines/v1/", engine="openvino-int8")
    assert load_model(source).engine == "openvino-int8"
