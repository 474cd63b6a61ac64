"""Start, refusal to start, drain, and kill: what an operator sees of the process."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time

import httpx
import onnx
import pytest
from free_ports import free_port
from running_predictor import (
    REPOSITORY,
    running_predictor,
    start_predictor,
    wait_until,
    wait_until_ready,
)

from segmentor.contract import METADATA_KEY
from segmentor.errors import ContractError
from segmentor.object_uri import ObjectUri
from segmentor.onnx_model import OnnxModel
from serving.__main__ import main
from serving.engines.loading import ModelSource, load_model


def run_to_its_end(*arguments: str, environment=None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "serving", "--model_name=scene", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment,
    )
    return done.returncode, done.stderr


def test_a_wrong_flag_is_usage_before_anything_heavy_is_imported():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "serving", "--model_name=scene", "--modeldir=x"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--modeldir" in done.stderr
    assert " argparse\n" in done.stderr
    for heavy in ("numpy", "cv2", "onnxruntime", "kserve"):
        assert f" {heavy}\n" not in done.stderr


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "no such file"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "not a loadable ONNX model"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"\x08junk" * 99), "not a loadable"),
    ],
    ids=["missing", "empty", "junk"],
)
def test_a_wrong_model_file_ends_the_process_with_one_line(tmp_path, make, says):
    make(tmp_path)
    code, error = run_to_its_end(f"--model_dir={tmp_path}")
    assert code == 3
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert says in error


def renamed_output(model, contract):
    for node in model.graph.node:
        node.output[:] = ["y" if name == "probability" else name for name in node.output]
    model.graph.output[0].name = "y"


WRONG_MODELS = {
    "another output": (renamed_output, "does not run"),
    "another policy": (
        lambda model, contract: contract["input"].update(size_policy="native"),
        "an output of shape",
    ),
    "another size": (
        lambda model, contract: contract["input"].update(size=[32, 32]),
        "an output of shape",
    ),
    "three lengths": (
        lambda model, contract: contract["input"].update(size=[64, 96, 3]),
        "whole numbers",
    ),
    "half a pixel": (
        lambda model, contract: contract["input"].update(size=[64.5, 96]),
        "whole numbers",
    ),
    "two means": (
        lambda model, contract: contract["input"].update(mean=[0.5, 0.5]),
        "three values",
    ),
    "no contract but brackets": (None, "not JSON"),
}


@pytest.mark.parametrize(("change", "says"), WRONG_MODELS.values(), ids=WRONG_MODELS.keys())
def test_a_model_that_is_not_what_its_contract_says_is_refused(
    street_model, tmp_path, change, says
):
    model = onnx.load(street_model / "model.onnx")
    texts = {prop.key: prop.value for prop in model.metadata_props}
    if change is None:
        texts[METADATA_KEY] = "[" * 100_000
    else:
        contract = json.loads(texts[METADATA_KEY])
        change(model, contract)
        texts[METADATA_KEY] = json.dumps(contract)
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ContractError, match=says):
        load_model(ModelSource("scene", str(tmp_path)))


def test_a_broken_model_of_a_store_is_named_by_its_address(store, store_environment, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"junk" * 100)
    store.ensure_bucket("models")
    store.upload_folder(tmp_path, ObjectUri.parse("s3://models/junk/v1"))
    code, error = run_to_its_end("--model_dir=s3://models/junk/v1/", environment=store_environment)
    assert (code, error.count("\n")) == (3, 1)
    assert error.startswith("error: s3://models/junk/v1/")


@pytest.mark.parametrize(
    "flag",
    [
        "--model_name=",
        "--model_name=a/b",
        "--model_name=straße",
        "--model_name=a\r\nX-Evil: 1",
        "--model_version=a b",
        "--http_port=99999",
        "--grpc_port=8080",
        "--max_queue=-5",
        "--time_limit=0",
        "--time_limit=nan",
        "--grace_period=-1",
    ],
)
def test_a_wrong_value_of_a_flag_is_usage(flag, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--model_name=scene", flag])
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_another_digest_than_expected_ends_the_process(street_model):
    code, error = run_to_its_end(f"--model_dir={street_model}", "--model_digest=sha256:0")
    assert code == 3
    assert "expected sha256:0" in error


def test_a_store_without_the_model_ends_the_process(store_environment, store):
    store.ensure_bucket("models")
    code, error = run_to_its_end("--model_dir=s3://models/nothing/1/")
    assert code == 3
    assert "s3://models/nothing/1/model.onnx" in error


def test_a_port_in_use_ends_the_process(predictor, street_model):
    code, error = run_to_its_end(
        f"--model_dir={street_model}", f"--http_port={predictor.http_port}"
    )
    assert code == 3
    assert f"port {predictor.http_port}" in error
    code, error = run_to_its_end(
        f"--model_dir={street_model}",
        f"--http_port={free_port()}",
        f"--grpc_port={predictor.grpc_port}",
    )
    assert code == 3
    assert f"grpc_port {predictor.grpc_port}" in error


def test_a_model_in_the_object_store_is_served(
    store, store_environment, street_model, tmp_path, scene_png
):
    store.ensure_bucket("models")
    store.upload_folder(street_model, ObjectUri.parse("s3://models/scene/v1"))
    with running_predictor(
        "s3://models/scene/v1/", tmp_path, "--model_version=v1", environment=store_environment
    ) as running:
        reply = running.client.post("/v1/models/scene:predict", content=scene_png)
        assert reply.headers["x-segmentor-version"] == "v1"
        assert reply.headers["x-segmentor-digest"] == OnnxModel(street_model).digest


def test_sigterm_answers_what_is_in_flight_then_ends_with_zero(road_model, tmp_path):
    patient = ("--time_limit=250", "--grace_period=200")
    with running_predictor(road_model, tmp_path, "--max_inflight=1", *patient) as running:
        replies = []
        # Pixels of 6 megapixels through the native model take a while.
        body = b"P" * 18_000_000
        head = (
            b'{"inputs":[{"name":"image","shape":[1,2000,3000,3],"datatype":"UINT8",'
            b'"parameters":{"binary_data_size":18000000}}]}'
        )

        def ask():
            replies.append(
                httpx.post(
                    f"{running.url}/v2/models/scene/infer",
                    content=head + body,
                    headers={"inference-header-content-length": str(len(head))},
                    timeout=250,
                ).status_code
            )

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        # All three are inside: what has not come in by then is rightly turned away.
        wait_until(lambda: len(replies) + running.pending() == len(threads), running)
        running.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert running.process.wait(timeout=200) == 0
        assert replies == [200, 200, 200]


def test_killed_under_load_it_starts_again_on_the_same_ports_and_serves_everybody(
    street_model, tmp_path, scene_png
):
    with running_predictor(street_model, tmp_path) as running:
        flags = [f"--http_port={running.http_port}", f"--grpc_port={running.grpc_port}"]
        is_back = threading.Event()
        after = []

        def ask() -> int:
            url = f"{running.url}/v1/models/scene:predict"
            return httpx.post(url, content=scene_png, timeout=100).status_code

        def keep_asking():
            while not is_back.is_set():
                with contextlib.suppress(httpx.TransportError):
                    ask()
            after.extend(ask() for _ in range(10))

        threads = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in threads:
            thread.start()
        while 'code="200",route="/v1' not in running.client.get("/metrics").text:
            time.sleep(0.01)
        running.process.kill()
        running.process.wait()
        again = start_predictor(
            ["--model_name=scene", f"--model_dir={street_model}", *flags], tmp_path / "again.log"
        )
        try:
            wait_until_ready(dataclasses.replace(running, process=again))
            is_back.set()
            for thread in threads:
                thread.join()
            assert after == [200] * 40
        finally:
            is_back.set()
            again.terminate()
            again.wait(timeout=60)
