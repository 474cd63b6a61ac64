"""The cluster under test: kubectl, Kubeflow Pipelines behind a forwarded port, `local`."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests

from components.container_images import VERSION
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from tests.free_ports import free_port

NAMESPACE = "segmentor"
MODEL = "segmentation"
REPOSITORY = Path(__file__).resolve().parents[2]
OVERLAY = REPOSITORY / "manifests/overlays/local"
STORE = {"AWS_ACCESS_KEY_ID": "try-out", "AWS_SECRET_ACCESS_KEY": "try-out-only"}
SOURCE = "s3://datasets/road-scenes.zip"
# Small enough for one CPU, and good enough for the gate.
OVERRIDES = ("processing=road", "training=cpu_fast", "training.epochs=12")
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
# A first run pulls images, and trains on one CPU.
RUN_SECONDS = 3600

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 600) -> T:
    """Return what `look` finds, once it finds anything."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None or found is False:
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(2)
    return found


@dataclass
class Installation:
    """A cluster with Kubeflow Pipelines and KServe."""

    kubectl_path: Path
    kfp_namespace: str
    registry: str
    endpoint: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    def kubectl(self, *words: str, text: str = "", check: bool = True) -> str:
        """Run kubectl and return what it printed."""
        command = [str(self.kubectl_path), *words]
        result = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=300
        )
        assert not check or result.returncode == 0, f"{words}: {result.stderr}"
        return result.stdout

    def get(self, *words: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        """Return an object or a list; {} if it does not exist."""
        flags = ("--namespace", namespace, "--output=json", "--ignore-not-found")
        printed = self.kubectl("get", *words, *flags)
        return dict(json.loads(printed)) if printed.strip() else {}

    def apply_overlay(self) -> dict[str, str]:
        """Apply the overlay as docs/cluster.md does; return the versions of all objects."""
        printed = self.kubectl(
            *("apply", "--server-side", "--kustomize", str(OVERLAY), "--output=json")
        )
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for item in json.loads(printed)["items"]
        }

    def service(self) -> dict[str, Any]:
        return self.get("inferenceservice", MODEL)

    def model(self) -> dict[str, Any]:
        """Return what the deploy step decides."""
        model: dict[str, Any] = self.service()["spec"]["predictor"]["model"]
        return {key: model.get(key) for key in ("storageUri", "runtime", "image", "args")}

    def pods(self, selector: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        return list(self.get("pods", "--selector", selector, namespace=namespace).get("items", []))

    @contextlib.contextmanager
    def forwarded(self, service: str, port: int, namespace: str = NAMESPACE) -> Iterator[str]:
        """Forward a port of a Service, and yield its address.

        The forwarding is started again whenever it ends, as it does with the API server.
        """
        local, ended = free_port(), threading.Event()
        target = (f"service/{service}", f"{local}:{port}")
        command = [str(self.kubectl_path), "port-forward", "--namespace", namespace, *target]

        def forward() -> None:
            while not ended.is_set():
                with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                    while process.poll() is None and not ended.wait(0.2):
                        pass
                    process.terminate()
                ended.wait(1)

        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", local), 5):
                return True
            return False

        thread = threading.Thread(target=forward, daemon=True)
        thread.start()
        try:
            wait_for(f"port {port} of {service}", answers, 120)
            yield f"http://127.0.0.1:{local}"
        finally:
            ended.set()
            thread.join(30)

    @contextlib.contextmanager
    def store(self) -> Iterator[ObjectStore]:
        """The overlay's object store, by a forwarded port."""
        with self.forwarded("object-store", 8333) as address:
            yield ObjectStore.from_environment(
                {**STORE, "S3_ENDPOINT": address, "AWS_REGION": "us-east-1"}
            )

    def upload(self, path: Path) -> None:
        """Put an export where the pipeline's parameter `source` says."""
        with self.store() as store:
            store.ensure_bucket("datasets")
            store.upload_file(path, ObjectUri.parse(SOURCE))

    def submit_bulk(self, **parameters: str) -> "subprocess.Popen[str]":
        """Start `segmentor submit --pipeline predict_batch --wait`."""
        words = ["--pipeline", "predict_batch", "--endpoint", self.endpoint]
        words += ["--registry", self.registry, "--wait"]
        for name, value in parameters.items():
            words += ["--param", f"{name}={value}"]
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "submit", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "300"},
        )

    def submit(
        self, *overrides: str, wait: bool = True, **parameters: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `segmentor submit` and return what it printed and its exit code.

        Without overrides the training is that of the first run, which KFP has in its cache.
        """
        overrides = overrides or OVERRIDES
        given = {**self.parameters, **parameters}
        words = ["--export", SOURCE, "--endpoint", self.endpoint, "--registry", self.registry]
        for name, value in given.items():
            words += ["--param", f"{name}={value}"]
        words += ["--wait"] if wait else []
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", "submit", *words, *overrides],
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
            env={**os.environ, "COLUMNS": "300"},
        )

    def image(self, name: str) -> str:
        prefix = f"{self.registry}/" if self.registry else ""
        return f"{prefix}segmentor-{name}:{VERSION}"

    def api(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Call KFP's API, through the UI server as a browser does."""
        url = f"{self.endpoint}/apis/v2beta1/{path}"
        response = requests.request(method, url, timeout=60, **options)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def newest_run(self) -> dict[str, Any]:
        query = {"sort_by": "created_at desc", "page_size": "1"}
        return dict(self.api("GET", "runs", params=query)["runs"][0])

    def wait_for_run(self, run_id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            with contextlib.suppress(requests.ConnectionError):  # forwarded anew in a moment
                run = self.api("GET", f"runs/{run_id}")
                return run if run["state"] in ENDED else None
            return None

        return wait_for(f"run {run_id}", ended, RUN_SECONDS)

    def running_step(self, run_id: str, step: str) -> str:
        """Wait until the pod of a step runs, and return its name."""
        selector = f"pipeline/runid={run_id},app.kubernetes.io/component={step}"

        def running() -> str | None:
            for pod in self.pods(selector, self.kfp_namespace):
                if pod["status"].get("phase") == "Running":
                    return str(pod["metadata"]["name"])
            return None

        return wait_for(f"a pod of {step}", running, RUN_SECONDS)
