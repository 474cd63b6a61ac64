"""overlays/local's object store, with the manifest's own arguments, user and read-only root.

Its image comes from a registry; here the same program, from the package, runs in the base image.
"""

import shutil
import sys
import time
from pathlib import Path

import pytest
import yaml

from components.container_images import DATA
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.store_connection import StoreConnection

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


def test_the_try_out_store_takes_a_model(engine, repository, tmp_path):
    folder = repository / "manifests/overlays/local"
    deployment, _service = yaml.safe_load_all((folder / "object_store.yaml").read_text())
    secret = yaml.safe_load((folder / "object_store_secret.yaml").read_text())["stringData"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    running = engine.containers.run(
        DATA,
        [*container["command"], *container["args"]],
        detach=True,
        user="1000:1000",
        read_only=True,
        tmpfs={mount["mountPath"]: "mode=1777" for mount in container["volumeMounts"]},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        environment=secret,
        volumes={weed: {"bind": "/usr/bin/weed", "mode": "ro"}},
        ports={"8333/tcp": ("127.0.0.1", None)},
    )
    try:
        running.reload()
        port = running.ports["8333/tcp"][0]["HostPort"]
        store = ObjectStore(
            StoreConnection(
                f"http://127.0.0.1:{port}",
                secret["AWS_ACCESS_KEY_ID"],
                secret["AWS_SECRET_ACCESS_KEY"],
                region="us-east-1",
            )
        )
        model = ObjectUri("models", "segmentation/v1/model.onnx")
        (tmp_path / "model.onnx").write_bytes(b"model")
        deadline = time.monotonic() + 200
        while True:
            try:
                store.upload_file(tmp_path / "model.onnx", model)
                break
            except StoreError:
                running.reload()
                assert running.status == "running", running.logs().decode()[-2000:]
                assert time.monotonic() < deadline, running.logs().decode()[-2000:]
                time.sleep(0.5)
        assert store.read(model) == b"model"
        probe = container["readinessProbe"]["httpGet"]["path"]
        assert store.client._http.request("GET", f"http://127.0.0.1:{port}{probe}").status == 200
    finally:
        running.remove(force=True)
