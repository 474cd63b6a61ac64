"""The predictor's image as a cluster runs it: arbitrary uid, read-only root, no capabilities."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import yaml

from components.container_images import PREDICTOR
from segmentor.image_io import encode_png
from segmentor.inference import predict_mask
from segmentor.masks import decode_mask
from segmentor.onnx_model import OnnxModel
from tests.components.deploy.deploy_builders import write_model

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
    """Starts a container with the runtime's own arguments and security; yields it and a client."""
    runtime = yaml.safe_load((repository / "manifests/base/serving_runtime.yaml").read_text())
    (container,) = runtime["spec"]["containers"]
    arguments = [argument.replace("{{.Name}}", "road") for argument in container["args"]]
    started = []

    def run(*extra: str):
        running = engine.containers.run(
            PREDICTOR,
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


def _client(running) -> httpx.Client:
    running.reload()
    port = running.ports["8080/tcp"][0]["HostPort"]
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        running.reload()
        assert running.status == "running", running.logs().decode()
        try:
            if client.get("/v1/models/road").status_code == 200:
                return client
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"not ready after 60 s: {running.logs().decode()}")


def _image(height=480, width=640) -> bytes:
    return encode_png(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_it_answers_with_the_mask_of_the_model(start, model_folder):
    client = _client(start())
    content = _image()
    headers = {"content-type": "image/png"}
    reply = client.post("/v1/models/road:predict", content=content, headers=headers)
    assert reply.status_code == 200
    model = OnnxModel(model_folder)
    assert reply.headers["x-segmentor-digest"] == model.digest
    expected = predict_mask(model.forward, model.contract, content)
    assert np.array_equal(decode_mask(reply.content, "reply"), expected)
    twin = client.post("/predict", files={"file": ("a.png", content, "image/png")})
    assert (twin.status_code, twin.json()["status"]) == (200, "200")
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/metrics").status_code == 200


def test_it_drains_on_sigterm(start):
    running = start()
    client = _client(running)
    content = _image(3000, 4000)  # long enough to be under way when the signal comes
    headers = {"content-type": "image/png"}
    with ThreadPoolExecutor(4) as pool:
        replies = [
            pool.submit(client.post, "/v1/models/road:predict", content=content, headers=headers)
            for _ in range(4)
        ]
        time.sleep(0.5)
        assert not all(reply.done() for reply in replies)
        running.kill("SIGTERM")
        assert [reply.result().status_code for reply in replies] == [200] * 4
    assert running.wait(timeout=40)["StatusCode"] == 0


def test_another_models_digest_stops_it_with_one_line(start):
    running = start("--model_digest=sha256:" + "0" * 64)
    assert running.wait(timeout=60)["StatusCode"] == 3
    last = running.logs().decode().strip().splitlines()[-1]
    assert last.startswith("error: /mnt/models: digest sha256:")
    assert "deploy the model again" in last
