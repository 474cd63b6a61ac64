"""Pods of the fake KServe, and what it writes of them: objects and status as KServe has them.

Stands for the kubelet's pod status and KServe's InferenceService status; read at Kubernetes
1.34 and kserve/kserve after 0.20.0 (aaac4e2).
"""

import contextlib
import urllib.request
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# What no registry has.
MISSING_IMAGE = "registry.example/missing:9"


@dataclass
class Pod:
    """A predictor process, and the pod template that it was started from."""

    name: str
    template: dict[str, Any]
    port: int
    log: Path
    process: BaseProcess | None = None
    initializer_error: str = ""

    @property
    def image(self) -> str:
        return self.template["spec"]["containers"][0]["image"]

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


def service_status(
    serving: Pod | None, failed: bool, earlier: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a status as KServe writes it.

    While an old pod is available, the service stays Ready although a new one fails. The failure of
    an earlier pod is kept for ever, and pods are counted twice.
    """
    ready = "True" if serving else "False"
    reason = {} if serving else {"reason": "MinimumReplicasUnavailable"}
    status: dict[str, Any] = {
        "conditions": [
            {"type": "PredictorReady", "status": ready, **reason},
            {"type": "IngressReady", "status": "True"},
            {"type": "Ready", "status": ready, **reason},
            {"type": "Stopped", "status": "False", "severity": "Info"},
        ],
        "modelStatus": {
            "transitionStatus": "UpToDate" if serving else "InProgress",
            "copies": {"totalCopies": 2 if serving else 0},
        },
        "deploymentMode": "Standard",
    }
    failure = (earlier or {}).get("modelStatus", {}).get("lastFailureInfo")
    if failure:
        status["modelStatus"]["lastFailureInfo"] = failure
    if serving:
        status["address"] = {"url": f"http://127.0.0.1:{serving.port}"}
    if failed:
        status["modelStatus"] = {
            "transitionStatus": "BlockedByFailedLoad",
            "lastFailureInfo": {"reason": "ModelLoadFailed", "exitCode": 3, "message": "see log"},
        }
    return status


def invalid_status(reason: str, message: str) -> dict[str, Any]:
    return {
        "conditions": [{"type": "Ready", "status": "False", "reason": reason}],
        "modelStatus": {
            "transitionStatus": "InvalidSpec",
            "lastFailureInfo": {"reason": reason, "message": message},
        },
    }


def pod_object(pod: Pod, name: str, failed: bool) -> dict[str, Any]:
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
            **pod.template["metadata"],
        },
        "spec": pod.template["spec"],
        "status": {"initContainerStatuses": [init], "containerStatuses": [main]},
    }
