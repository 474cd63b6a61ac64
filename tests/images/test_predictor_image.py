"""The predictor's image as a cluster runs it: arbitrary uid, read-only root, no capabilities."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import yaml

from components.container_images import PREDICTOR
from segmentor.image_io import decode_index, encode_png
from segmentor.inference import predict_mask
from segmentor.model_samples import MAX_FLIPPED
from segmentor.onnx_model import OnnxModel
from tests.components.deploy.deploy_builders import write_model
from tests.images.conftest import PREDICTOR_OPENVINO

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    return folder


@pytest.fixture
def start(engine, model_folder, repository):
    """Start a container with the runtime's own arguments and security; yield it and a client."""
    runtime = yaml.safe_load((repository / "manifests/base/serving_runtime.yaml").read_text())
    (container,) = runtime["spec"]["containers"]
    arguments = [argument.replace("{{.Name}}", "road") for argument in container["args"]]
    started = []

    def run(*extra: str, image: str = PREDICTOR):
        running = engine.containers.run(
            image,
            [*arguments, *extra],
            detach=True,
            user="12345:0",
            read_only=True,
            tmpfs={"/tmp": "size=64m,mode=1777"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit="2g",
            nano_cpus=2_000_000_000,
            ports={"8080/tcp": ("127.0.0.1", None)},
            volumes={str(model_folder): {"bind": "/mnt/models", "mode": "ro"}},
        )
        started.append(running)
        return running

    yield run
    for running in started:
        running.remove(force=True)


@contextmanager
def _ready(running) -> Iterator[httpx.Client]:
    """Wait until the model is ready; yield a client."""
    running.reload()
    port = running.ports["8080/tcp"][0]["HostPort"]
    deadline = time.monotonic() + 200
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=100) as client:
        while not _is_ready(client):
            running.reload()
            assert running.status == "running", running.logs().decode()
            assert time.monotonic() < deadline, running.logs().decode()
            time.sleep(0.2)
        yield client


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v1/models/road").status_code == 200
    except httpx.TransportError:
        return False


def _pending(client: httpx.Client) -> float:
    """How many predictions are computed, or wait for a worker."""
    text = client.get("/metrics").text
    return sum(map(float, re.findall(r"^segmentor_(?:in_flight|queued) (\S+)$", text, re.M)))


def _image(height=480, width=640) -> bytes:
    return encode_png(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_it_answers_with_the_mask_of_the_model(start, model_folder):
    content = _image()
    headers = {"content-type": "image/png"}
    model = OnnxModel(model_folder)
    expected = predict_mask(model.forward, model.contract, content)
    with _ready(start()) as client:
        reply = client.post("/v1/models/road:predict", content=content, headers=headers)
        assert reply.status_code == 200
        assert reply.headers["x-segmentor-digest"] == model.digest
        assert np.array_equal(decode_index(reply.content, "reply"), expected)
        twin = client.post("/predict", files={"file": ("a.png", content, "image/png")})
        assert (twin.status_code, twin.json()["status"]) == (200, "200")
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/metrics").status_code == 200


def test_it_drains_on_sigterm(start):
    running = start()
    # Small to send and long to answer: all are under way when the signal comes.
    content = encode_png(np.zeros((1500, 2000, 3), np.uint8))
    headers = {"content-type": "image/png"}
    with _ready(running) as client, ThreadPoolExecutor(12) as pool:
        replies = [
            pool.submit(client.post, "/v1/models/road:predict", content=content, headers=headers)
            for _ in range(12)
        ]
        deadline = time.monotonic() + 60
        # What has not come in by then is rightly turned away.
        while sum(reply.done() for reply in replies) + (pending := _pending(client)) < 12:
            assert time.monotonic() < deadline, running.logs().decode()
            time.sleep(0.02)
        assert pending > 0
        running.kill("SIGTERM")
        assert [reply.result().status_code for reply in replies] == [200] * 12
    assert running.wait(timeout=100)["StatusCode"] == 0


def test_another_models_digest_stops_it_with_one_line(start):
    running = start("--model_digest=sha256:" + "0" * 64)
    assert running.wait(timeout=200)["StatusCode"] == 3
    last = running.logs().decode().strip().splitlines()[-1]
    assert last.startswith("error: /mnt/models: digest sha256:")
    assert "deploy the model again" in last


def test_a_device_that_is_not_there_stops_it_with_one_line(start):
    """As overlays/gpu on a node without a GPU: never a quiet answer from the CPU."""
    running = start("--provider=CUDAExecutionProvider")
    assert running.wait(timeout=200)["StatusCode"] == 3
    lines = running.logs().decode().strip().splitlines()
    assert lines[-1].startswith("error: /mnt/models/model.onnx: no CUDAExecutionProvider")
    assert not any(line.startswith("Traceback") for line in lines)


def test_built_with_openvino_it_serves_by_that_engine_and_says_so(start, model_folder):
    content = _image()
    model = OnnxModel(model_folder)
    expected = predict_mask(model.forward, model.contract, content)
    with _ready(start("--engine=openvino", image=PREDICTOR_OPENVINO)) as client:
        reply = client.post("/v1/models/road:predict", content=content)
        assert reply.headers["x-segmentor-engine"] == "openvino"
        assert (decode_index(reply.content, "reply") != expected).mean() <= MAX_FLIPPED
        described = client.get("/v2/models/road").json()["parameters"]
        assert described["engine"] == "openvino"
        assert 'engine="openvino"' in client.get("/metrics").text


def test_an_engine_that_the_image_lacks_stops_it_with_one_line(start):
    """As overlays/fast with the image of another build."""
    running = start("--engine=fast")
    assert running.wait(timeout=200)["StatusCode"] == 3
    lines = running.logs().decode().strip().splitlines()
    assert lines[-1].startswith("error: engine: openvino is not installed")
    assert not any(line.startswith("Traceback") for line in lines)
