"""KServe's controller, as far as a deployment notices it, with the real predictor behind it.

For each InferenceService it makes the Deployment that KServe would make of it and its
ServingRuntime, downloads the model by the storage-initializer's rule (a plain prefix), starts
the predictor with the runtime's own arguments, and writes status as KServe writes it: the
file `address` chooses the form of the cluster's own address, `cluster-ip` or `headless`. While a
file `late` is there, a change of a runtime is not noticed.
"""

import contextlib
import socket
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from segmentor.object_store import ObjectStore, ObjectUri
from tests.components.deploy.fake_objects import Objects
from tests.components.deploy.predictor_fork import start_predictor

SERVICES = "serving.kserve.io/v1beta1/inferenceservices"
RUNTIMES = "serving.kserve.io/v1alpha1/servingruntimes"
DEPLOYMENTS = "apps/v1/deployments"
PODS = "v1/pods"
EVENTS = "v1/events"
# What no registry has.
MISSING_IMAGE = "registry.example/missing:9"
ADDRESSES = {
    # As KServe 0.16 writes both behind a gateway with TLS.
    "cluster-ip": "https://{name}-predictor.{namespace}.svc.cluster.local",
    "headless": "http://{name}-predictor.{namespace}.svc.cluster.local",
}


@dataclass
class Pod:
    """A predictor process, and the generations of InferenceService and runtime that it has."""

    name: str
    generation: tuple[int, int]
    port: int
    log: Path
    image: str
    process: BaseProcess | None = None
    initializer_error: str = ""
    arguments: list[str] = field(default_factory=list)

    def is_ready(self, model: str) -> bool:
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.port}/v1/models/{model}"
            return urllib.request.urlopen(url, timeout=2).status == 200
        return False

    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.exitcode

    def waits(self) -> bool:
        """True for ever: its process has not even started."""
        return bool(self.initializer_error) or self.image == MISSING_IMAGE

    def failed(self) -> bool:
        return self.waits() or self.exit_code() is not None

    def stop(self) -> None:
        if self.process is not None and self.process.is_alive():
            self.process.terminate()
            self.process.join(10)
            self.process.kill()
            self.process.join()


class FakeKServe(threading.Thread):
    """Reconciles until stopped; old pods serve until new ones are ready."""

    def __init__(self, objects: Objects, address: Path) -> None:
        super().__init__(daemon=True)
        self.objects, self.address = objects, address
        self.folder = Path(tempfile.mkdtemp(prefix="fake-kserve-"))
        self.stopping = threading.Event()
        self.clearing = threading.Event()
        self.serving: dict[str, Pod] = {}
        self.starting: dict[str, Pod] = {}
        self.pod_count = 0

    def run(self) -> None:
        while not self.stopping.wait(0.05):
            if self.clearing.is_set():
                self.stop_pods()
                self.objects.clear()
                self.clearing.clear()
            for key, service in self.objects.all(SERVICES):
                self.reconcile(key, service)

    def stop(self) -> None:
        self.stopping.set()
        self.join()
        self.stop_pods()

    def clear(self) -> None:
        """Ends every pod and forgets every object."""
        self.clearing.set()
        while self.clearing.is_set():
            time.sleep(0.01)

    def stop_pods(self) -> None:
        for pods in (self.starting, self.serving):
            while pods:
                pods.popitem()[1].stop()

    def log_of(self, name: str, container: str) -> str:
        for pod in [*self.starting.values(), *self.serving.values()]:
            if pod.name == name:
                if container == "storage-initializer":
                    return pod.initializer_error
                return pod.log.read_text(errors="replace")
        return ""

    def reconcile(self, key: tuple[str, str, str], service: dict[str, Any]) -> None:
        _resource, namespace, name = key
        if service["metadata"].get("annotations", {}).get("serving.kserve.io/stop") == "true":
            self.end(key, namespace, name)
            return
        newest = self.starting.get(name) or self.serving.get(name)
        model = service["spec"]["predictor"]["model"]
        runtime = self.objects.get((RUNTIMES, namespace, model.get("runtime", "")))
        if runtime is None:
            self.objects.set_status(key, _invalid(f"No runtime {model.get('runtime')}"))
            return
        # A change of the runtime restarts every model that it serves.
        wanted = _generation(service, runtime)
        if newest is not None and self.address.with_suffix(".late").exists():
            wanted = (wanted[0], newest.generation[1])
        if newest is None or newest.generation != wanted:
            if name in self.starting:
                self.starting.pop(name).stop()
            self.starting[name] = self.start_pod(namespace, name, service, runtime)
        self.update(key, namespace, name)

    def end(self, key, namespace: str, name: str) -> None:
        """Ends what a stopped InferenceService has, as KServe does."""
        for pods in (self.starting, self.serving):
            if (pod := pods.pop(name, None)) is not None:
                pod.stop()
        self.objects.delete((DEPLOYMENTS, namespace, f"{name}-predictor"))
        self.objects.delete((PODS, namespace, name))
        stopped = {"type": "Stopped", "status": "True"}
        self.objects.set_status(
            key, {"conditions": [{"type": "Ready", "status": "False"}, stopped]}
        )

    def start_pod(self, namespace, name, service, runtime) -> Pod:
        self.pod_count += 1
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        model = service["spec"]["predictor"]["model"]
        container = runtime["spec"]["containers"][0]
        # Concatenated, as KServe merges a runtime's container with the InferenceService's.
        arguments = [
            argument.replace("{{.Name}}", name)
            for argument in [*container["args"], *model.get("args", [])]
        ]
        pod = Pod(
            f"{name}-predictor-{self.pod_count}",
            _generation(service, runtime),
            port,
            self.folder / f"pod-{self.pod_count}.log",
            container["image"],
            arguments=arguments,
        )
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{name}-predictor", "namespace": namespace},
            "spec": {
                "replicas": 1,
                "template": {"spec": {"containers": [{**container, "args": arguments}]}},
            },
        }
        self.objects.put((DEPLOYMENTS, namespace, f"{name}-predictor"), deployment)
        folder = self.folder / f"models-{self.pod_count}"
        try:
            _initialize(model["storageUri"], folder)
        except Exception as error:  # whatever it is, it is the init container's log
            pod.initializer_error = f"RuntimeError: {error}"
        if pod.waits():
            return pod
        placed = {"--model_dir": str(folder), "--http_port": str(port), "--enable_grpc": "false"}
        command = [a for a in arguments if a.split("=")[0] not in (*placed, "--grpc_port")]
        command += [f"{flag}={value}" for flag, value in placed.items()]
        pod.process = start_predictor(command, pod.log)
        return pod

    def update(self, key, namespace: str, name: str) -> None:
        pod = self.starting.get(name)
        if pod is not None and not pod.failed() and pod.is_ready(name):
            old = self.serving.get(name)
            self.serving[name] = self.starting.pop(name)
            if old is not None:
                old.stop()
            pod = None
        serving = self.serving.get(name)
        deployment_key = (DEPLOYMENTS, namespace, f"{name}-predictor")
        deployment = self.objects.get(deployment_key)
        self.objects.set_status(
            deployment_key,
            {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": (serving is not None) + (pod is not None),
                "updatedReplicas": 1,
                "availableReplicas": int(serving is not None),
            },
        )
        failed = pod is not None and pod.failed()
        self.objects.put((PODS, namespace, name), _pod_object(pod or serving, name, failed))
        if failed:
            event = {
                "metadata": {"name": f"{name}-1", "namespace": namespace},
                "type": "Warning",
                "reason": "BackOff",
                "message": "Back-off restarting failed container",
                "involvedObject": {"name": pod.name},
                "lastTimestamp": "2026-01-01T00:00:00Z",
            }
            self.objects.put((EVENTS, namespace, f"{name}-1"), event)
        status = _status(serving, failed)
        if serving and (form := self.address.read_text() if self.address.exists() else ""):
            url = ADDRESSES[form].format(name=name, namespace=namespace)
            status = {**status, "url": status["address"]["url"], "address": {"url": url}}
        self.objects.set_status(key, status)


def _generation(service: dict[str, Any], runtime: dict[str, Any]) -> tuple[int, int]:
    return service["metadata"]["generation"], runtime["metadata"]["generation"]


def _initialize(storage_uri: str, folder: Path) -> None:
    """Downloads every object whose key starts with the URI's, as the storage-initializer does."""
    uri = ObjectUri.parse(storage_uri)
    store = ObjectStore.from_environment()
    found = False
    for item in store.client.list_objects(uri.bucket, uri.key, recursive=True):
        path = folder / item.object_name[len(uri.key) :].lstrip("/")
        store.client.fget_object(uri.bucket, item.object_name, str(path))
        found = True
    if not found:
        raise RuntimeError(f"Failed to fetch model. No model found in {storage_uri}.")


def _status(serving: Pod | None, failed: bool) -> dict[str, Any]:
    # As KServe: while an old pod is available, the service stays Ready although a new one fails.
    ready = "True" if serving else "False"
    reason = {} if serving else {"reason": "MinimumReplicasUnavailable"}
    status: dict[str, Any] = {
        "conditions": [
            {"type": "PredictorReady", "status": ready, **reason},
            {"type": "IngressReady", "status": "True"},
            {"type": "Ready", "status": ready, **reason},
        ],
        "modelStatus": {"transitionStatus": "UpToDate"},
    }
    if serving:
        status["address"] = {"url": f"http://127.0.0.1:{serving.port}"}
    if failed:
        status["modelStatus"] = {
            "transitionStatus": "BlockedByFailedLoad",
            "lastFailureInfo": {"reason": "ModelLoadFailed", "exitCode": 3, "message": "see log"},
        }
    return status


def _invalid(message: str) -> dict[str, Any]:
    return {
        "conditions": [{"type": "Ready", "status": "False", "reason": "InvalidSpec"}],
        "modelStatus": {
            "transitionStatus": "InvalidSpec",
            "lastFailureInfo": {"reason": "RuntimeNotRecognized", "message": message},
        },
    }


def _pod_object(pod: Pod, name: str, failed: bool) -> dict[str, Any]:
    init = {"name": "storage-initializer", "ready": not pod.initializer_error, "state": {}}
    main: dict[str, Any] = {"name": "kserve-container", "ready": not failed, "state": {}}
    if pod.initializer_error:
        init["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
        init["lastState"] = {"terminated": {"exitCode": 1, "reason": "Error"}}
        main["state"] = {"waiting": {"reason": "PodInitializing"}}
    elif pod.waits():
        message = f'Back-off pulling image "{pod.image}"'
        main["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    elif failed:
        main["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
        main["lastState"] = {"terminated": {"exitCode": pod.exit_code(), "reason": "Error"}}
    return {
        "metadata": {
            "name": pod.name,
            "labels": {"serving.kserve.io/inferenceservice": name},
        },
        "spec": {"containers": [{"name": "kserve-container", "args": pod.arguments}]},
        "status": {"initContainerStatuses": [init], "containerStatuses": [main]},
    }
