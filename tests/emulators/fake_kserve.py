"""KServe's controller, as far as a deployment notices it, with the real predictor behind it.

Stands for KServe's controller and storage-initializer; read at kserve/kserve after 0.20.0
(aaac4e2).

For each InferenceService it makes the Deployment that KServe would make of it and its
ServingRuntime, downloads the model by the storage-initializer's rule (a plain prefix), starts
the predictor with the runtime's own arguments, and writes status as KServe writes it: the
file `address` chooses the form of the cluster's own address, `cluster-ip` or `headless`.
New pods start whenever the pod template changes.
"""

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from tests.components.deploy.predictor_fork import start_predictor
from tests.emulators.fake_objects import Objects
from tests.emulators.fake_pods import Pod, invalid_status, pod_object, service_status
from tests.free_ports import free_port

SERVICES = "serving.kserve.io/v1beta1/inferenceservices"
RUNTIMES = "serving.kserve.io/v1alpha1/servingruntimes"
DEPLOYMENTS = "apps/v1/deployments"
PODS = "v1/pods"
EVENTS = "v1/events"
SOURCE_URI = "internal.serving.kserve.io/storage-initializer-sourceuri"
ADDRESSES = {
    # As KServe 0.16 writes both behind a gateway with TLS.
    "cluster-ip": "https://{name}-predictor.{namespace}.svc.cluster.local",
    "headless": "http://{name}-predictor.{namespace}.svc.cluster.local",
}


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
        """End every pod and forget every object."""
        self.clearing.set()
        while self.clearing.is_set():
            time.sleep(0.01)

    def stop_pods(self) -> None:
        for pods in (self.starting, self.serving):
            while pods:
                pods.popitem()[1].stop()

    def log_of(self, name: str, container: str) -> str | None:
        """Return the log of a container; None where the API server has 400: it has not started."""
        for pod in [*self.starting.values(), *self.serving.values()]:
            if pod.name == name:
                if container == "storage-initializer":
                    return pod.initializer_error
                return None if pod.waits() else pod.log.read_text(errors="replace")
        return ""

    def reconcile(self, key: tuple[str, str, str], service: dict[str, Any]) -> None:
        _resource, namespace, name = key
        if service["metadata"].get("annotations", {}).get("serving.kserve.io/stop") == "true":
            self.end(key, namespace, name)
            return
        newest = self.starting.get(name) or self.serving.get(name)
        model = service["spec"]["predictor"]["model"]
        runtime = self.find_runtime(namespace, model)
        if runtime is None:
            reason = "RuntimeNotRecognized" if "runtime" in model else "NoSupportingRuntime"
            message = f"No runtime {model.get('runtime', 'supports the format')}"
            self.objects.set_status(key, invalid_status(reason, message))
            return
        template = pod_template(name, service, runtime)
        if newest is None or newest.template != template:
            if name in self.starting:
                self.starting.pop(name).stop()
            # It says so before the pod starts, which takes some seconds.
            self.objects.set_status(
                key, service_status(self.serving.get(name), False, service.get("status"))
            )
            self.starting[name] = self.start_pod(namespace, name, model, template)
        self.update(key, namespace, name)

    def find_runtime(self, namespace: str, model: dict[str, Any]) -> dict[str, Any] | None:
        """The runtime that the model names, else one that is selected by its format."""
        if "runtime" in model:
            return self.objects.get((RUNTIMES, namespace, model["runtime"]))
        for _key, runtime in self.objects.all(RUNTIMES):
            for item in runtime["spec"]["supportedModelFormats"]:
                if item.get("autoSelect") and item["name"] == model["modelFormat"]["name"]:
                    return runtime
        return None

    def end(self, key, namespace: str, name: str) -> None:
        """End what a stopped InferenceService has, as KServe does."""
        for pods in (self.starting, self.serving):
            if (pod := pods.pop(name, None)) is not None:
                pod.stop()
        self.objects.delete((DEPLOYMENTS, namespace, f"{name}-predictor"))
        self.objects.delete((PODS, namespace, name))
        stopped = {"type": "Stopped", "status": "True"}
        self.objects.set_status(
            key, {"conditions": [{"type": "Ready", "status": "False"}, stopped]}
        )

    def start_pod(self, namespace, name, model, template) -> Pod:
        self.pod_count += 1
        port = free_port()
        (container,) = template["spec"]["containers"]
        pod = Pod(
            f"{name}-predictor-{self.pod_count}",
            template,
            port,
            self.folder / f"pod-{self.pod_count}.log",
        )
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{name}-predictor", "namespace": namespace},
            "spec": {"replicas": 1, "template": template},
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
        command = [a for a in container["args"] if a.split("=")[0] not in (*placed, "--grpc_port")]
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
        self.objects.put((PODS, namespace, name), pod_object(pod or serving, name, failed))
        if failed:
            event = {
                "metadata": {"name": f"{name}-1", "namespace": namespace},
                "type": "Warning",
                "reason": "BackOff",
                "message": "Back-off restarting failed container",
                "involvedObject": {"kind": "Pod", "name": pod.name},
                "lastTimestamp": "2026-01-01T00:00:00Z",
            }
            self.objects.put((EVENTS, namespace, f"{name}-1"), event)
        earlier = (self.objects.get(key) or {}).get("status")
        status = service_status(serving, failed, earlier)
        if serving and (form := self.address.read_text() if self.address.exists() else ""):
            url = ADDRESSES[form].format(name=name, namespace=namespace)
            status = {**status, "url": status["address"]["url"], "address": {"url": url}}
        self.objects.set_status(key, status)


def pod_template(name: str, service: dict[str, Any], runtime: dict[str, Any]) -> dict[str, Any]:
    """Merge a runtime and an InferenceService as KServe does.

    The image of the InferenceService replaces the runtime's, its arguments are appended, and its
    annotations are copied, beside one that names the model's address.
    """
    model = service["spec"]["predictor"]["model"]
    (container,) = runtime["spec"]["containers"]
    arguments = [*container["args"], *model.get("args", [])]
    return {
        "metadata": {
            "labels": {"serving.kserve.io/inferenceservice": name},
            "annotations": {
                **service["metadata"].get("annotations", {}),
                SOURCE_URI: model.get("storageUri", ""),
            },
        },
        "spec": {
            "containers": [
                {
                    **container,
                    "image": model.get("image", container["image"]),
                    "args": [argument.replace("{{.Name}}", name) for argument in arguments],
                }
            ]
        },
    }


def _initialize(storage_uri: str, folder: Path) -> None:
    """Download every object whose key starts with the URI's, as the storage-initializer does."""
    uri = ObjectUri.parse(storage_uri)
    store = ObjectStore.from_environment()
    found = False
    for item in store.client.list_objects(uri.bucket, uri.key, recursive=True):
        path = folder / item.object_name[len(uri.key) :].lstrip("/")
        store.client.fget_object(uri.bucket, item.object_name, str(path))
        found = True
    if not found:
        raise RuntimeError(f"Failed to fetch model. No model found in {storage_uri}.")
