"""The TrainJob of Kubeflow Trainer by which several nodes train: manifest, and rehearsal.

The step train submits it, and check_deployment asks before any training whether it may.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from components.kubernetes_api import Cluster, object_path
from components.kubernetes_connection import Caller, MissingError
from components.node_options import OBJECT_STORE_KEYS, NodeOptions

logger = logging.getLogger(__name__)

API_VERSION = "trainer.kubeflow.org/v1alpha1"
RUNTIME = "segmentor-trainer"  # manifests/training/training_runtime.yaml
CONTAINER = "node"
NODE_MODULE = "components.train.trainer_job.node"
# The names of a job's pods end in '-node-0-99-xxxxx', and may have 63 characters.
LONGEST_NAME = 47
_NOBODY = "segmentor-check"
SUBMITTER = Caller(
    "segmentor-train",
    {
        403: "apply manifests/training in this namespace, and bind its Role to the pipeline's "
        "service account (docs/cluster/several-nodes.md)",
        404: "install Kubeflow Trainer (docs/cluster/several-nodes.md), or set train_nodes=1",
        422: "the TrainJob does not fit this Trainer's CRDs",
        500: "Kubeflow Trainer does not answer: look at its pods, or set train_nodes=1",
    },
    "set train_nodes=1",
)


def train_job(
    name: str,
    namespace: str,
    options: NodeOptions,
    arguments: Sequence[str],
    owner: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the manifest of a TrainJob.

    Args:
        name: At most 47 characters.
        namespace: Where the pipeline's pods and the TrainingRuntime are.
        options: How many nodes, and what each gets.
        arguments: Those of `components.train.trainer_job.node`.
        owner: The pod with which the job is deleted: its `name` and `uid`.
    """
    # One process is the container's own, so that its exit code is the pod's: torchrun hides it.
    module = ["python", "-m", NODE_MODULE]
    if options.processes_per_node > 1:
        module = ["python", "-m", "torch.distributed.run", "-m", "--", NODE_MODULE]
    resources = {"cpu": options.train_cpu, "memory": options.train_memory}
    if int(options.train_accelerators):
        resources[options.train_accelerator_type] = options.train_accelerators
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "segmentor"},
            **({"ownerReferences": [owner_reference(owner)]} if owner else {}),
        },
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "TrainingRuntime",
                "name": RUNTIME,
            },
            "trainer": {
                "image": options.trainer_image,
                "command": module,
                # Kubernetes would put variables in place of '$(NAME)'.
                "args": [argument.replace("$(", "$$(") for argument in arguments],
                "numNodes": options.train_nodes,
                "numProcPerNode": options.processes_per_node,
                # Requests equal limits, as in the step's own pod.
                "resourcesPerNode": {"requests": dict(resources), "limits": dict(resources)},
                "env": _environment(options),
            },
            "runtimePatches": [_placement(options)],
        },
    }


def owner_reference(owner: Mapping[str, str]) -> dict[str, Any]:
    """Return the reference by which the job is deleted when the pod is."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": owner["name"],
        "uid": owner["uid"],
        "controller": False,
    }


def rehearse_training(options: NodeOptions) -> None:
    """Ask the cluster for all that training on several nodes will need, and keep nothing.

    Raises:
        DeployError: Kubeflow Trainer, the TrainingRuntime or a right is missing.
    """
    if options.train_nodes == 1:
        return
    cluster = Cluster(SUBMITTER)
    namespace = cluster.namespace
    manifest = train_job(_NOBODY, namespace, options, ["--help"])
    path = object_path(manifest)
    cluster.create(path.rpartition("/")[0], manifest, dry_run=True)
    # There is nothing of this name: the answer is 404, or 403 where a right is missing.
    cluster.get(path)
    with contextlib.suppress(MissingError):
        cluster.merge(manifest, {"metadata": {"labels": {"checked": "true"}}}, dry_run=True)
    cluster.delete(path, dry_run=True)
    _, version = cluster.pods(namespace, pod_selector(_NOBODY))
    list(cluster.changed_pods(namespace, pod_selector(_NOBODY), version, seconds=1))
    cluster.log_since(namespace, _NOBODY, CONTAINER, "")
    cluster.items(f"/api/v1/namespaces/{namespace}/events", limit="1")
    logger.info("would be submitted kind=TrainJob nodes=%d", options.train_nodes)


def pod_selector(name: str) -> str:
    """Return the labels by which the pods of a job are found."""
    return f"jobset.sigs.k8s.io/jobset-name={name}"


def _environment(options: NodeOptions) -> list[dict[str, Any]]:
    secret = options.object_store_secret
    return [
        # The weights depend on the threads, and without a number they are as many as the machine's.
        {"name": "OMP_NUM_THREADS", "value": str(options.threads)},
        *(
            {
                "name": key,
                "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}},
            }
            for key in OBJECT_STORE_KEYS
        ),
    ]


def _placement(options: NodeOptions) -> dict[str, Any]:
    given = {
        "nodeSelector": options.train_node_selector,
        "tolerations": options.train_tolerations,
    }
    pod = {
        "metadata": {"labels": {"app.kubernetes.io/part-of": "segmentor"}},
        "spec": {name: value for name, value in given.items() if value},
    }
    job = {"name": CONTAINER, "template": {"spec": {"template": pod}}}
    template = {"spec": {"replicatedJobs": [job]}}
    return {"manager": "segmentor.io/pipeline", "trainingRuntimeSpec": {"template": template}}
