"""The manifest of the Indexed Job by which many pods predict."""

import base64
import json
import os
from pathlib import Path
from typing import Any

from components.node_options import OBJECT_STORE_KEYS
from components.predict_batch.options import PredictBatchOptions

CONTAINER = "predict"
_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
# Pods of one index that may be killed, evictions not counted, before the Job fails.
_KILLED_PODS = 10


def job_manifest(
    name: str, namespace: str, options: PredictBatchOptions, indexes: int
) -> dict[str, Any]:
    """Return the manifest of the Job.

    Args:
        name: Of the Job.
        namespace: That of the step's pod.
        options: Image, secret and resources of the pods, and where predictions are written.
        indexes: How many pods work at once; each has one index.
    """
    own_name, own_uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    owner = {"apiVersion": "v1", "kind": "Pod", "name": own_name, "uid": own_uid}
    labels = {"app.kubernetes.io/part-of": "segmentor", "app.kubernetes.io/component": "predict"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            # A step's pod that is deleted takes its Job along.
            **({"ownerReferences": [owner]} if own_name and own_uid else {}),
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": indexes,
            "parallelism": indexes,
            "backoffLimitPerIndex": _KILLED_PODS,
            "podFailurePolicy": {
                "rules": [
                    # A node that is drained, or a pod that makes way for another.
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    # Errors that another pod would meet too: components/cli.py.
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": [1, 2, 3],
                        },
                    },
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": _pod(options, indexes)},
        },
    }


def _pod(options: PredictBatchOptions, indexes: int) -> dict[str, Any]:
    # Requests equal limits: the number of images at once follows the CPU limit.
    resources = {"cpu": options.predict_cpu, "memory": options.predict_memory}
    account = _service_account()
    return {
        "restartPolicy": "Never",
        # Its role may give the keys of the object store; Kubernetes' API is not asked.
        **({"serviceAccountName": account} if account else {}),
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "containers": [
            {
                "name": CONTAINER,
                "image": options.data_image,
                "command": ["python", "-m", "components.predict_batch.worker"],
                "args": [f"--predictions={options.predictions}", f"--workers={indexes}"],
                "env": [
                    _from_secret(options.object_store_secret, key) for key in OBJECT_STORE_KEYS
                ],
                "resources": {"requests": resources, "limits": dict(resources)},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                # The last lines of the log are then in the pod's status.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }


def _service_account() -> str:
    """Return the service account of this pod, as its token has it; '' outside a pod."""
    if not _TOKEN.is_file():
        return ""
    claims = _TOKEN.read_text(encoding="utf-8").split(".")[1]
    value = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return str(value["kubernetes.io"]["serviceaccount"]["name"])


def _from_secret(secret: str, key: str) -> dict[str, Any]:
    reference = {"name": secret, "key": key, "optional": True}
    return {"name": key, "valueFrom": {"secretKeyRef": reference}}
