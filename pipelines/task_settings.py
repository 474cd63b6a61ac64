"""What a cluster must know about a task beyond its command: resources, secrets, limits.

Everything that KFP can take at run time is a pipeline parameter. Timeouts and how long a finished
run is kept are numbers in the compiled file, because KFP's format has no place for more
(docs/decisions/0012-cluster-settings.md).
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl, kubernetes

from components.node_options import OBJECT_STORE_KEYS, STEP_RESOURCES

SECONDS_PER_HOUR = 3600
SECONDS_TO_KEEP_RUNS = 14 * 24 * SECONDS_PER_HOUR
LABEL = "app.kubernetes.io"
# The key of the secret, which is also the variable that steps read.
CVAT_SECRET = "segmentor-cvat"
CVAT_TOKEN = "CVAT_ACCESS_TOKEN"


def pipeline_settings() -> dsl.PipelineConfig:
    """Return the settings of a whole run."""
    return dsl.PipelineConfig(ttl_seconds_after_finished=SECONDS_TO_KEEP_RUNS)


def set_basics(
    task: dsl.PipelineTask,
    image: str,
    hours: int,
    cpu: str = "100m",
    memory: str = "512Mi",
) -> dsl.PipelineTask:
    """Give a task its image, labels, a deadline, and the least it needs.

    Requests are small, so that a node of two CPUs holds a step beside Kubeflow; a step uses more
    where there is more.

    Args:
        task: The task.
        image: Its container image; a pipeline parameter.
        hours: Its pod is ended after so many.
        cpu: Requested; not a limit.
        memory: Requested; not a limit.
    """
    task.set_container_image(image)
    task.set_cpu_request(cpu).set_memory_request(memory)
    kubernetes.set_timeout(task, seconds=hours * SECONDS_PER_HOUR)
    kubernetes.add_pod_label(task, f"{LABEL}/part-of", "segmentor")
    kubernetes.add_pod_label(task, f"{LABEL}/component", task.name)
    return task


def set_training_resources(
    task: dsl.PipelineTask, checked: dsl.PipelineTask, values: Mapping[str, Any]
) -> None:
    """Give the train task its resources: what check_deployment says, the rest by parameters.

    With several nodes the parameters describe each of them, and the task only watches. Requests
    equal limits: the number of threads follows the CPU limit, and the weights depend on the number
    of threads.
    """
    cpu, memory, accelerators = (checked.outputs[name] for name in STEP_RESOURCES)
    kind = values["train_accelerator_type"]
    task.set_cpu_request(cpu).set_cpu_limit(cpu)
    task.set_memory_request(memory).set_memory_limit(memory)
    task.set_accelerator_type(kind)
    task.set_accelerator_limit(accelerators)
    # These setters do not tell the compiler, which then leaves the values out of the sweep's loop:
    # such a file compiles, runs locally, and fails on the cluster.
    task.register_pipeline_channels([cpu, memory, accelerators, kind])
    kubernetes.add_node_selector_json(task, values["train_node_selector"])
    kubernetes.add_toleration_json(task, values["train_tolerations"])
    # Data loaders pass batches through it; 64 MB otherwise. The memory limit bounds it.
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory")


def set_cvat(task: dsl.PipelineTask) -> None:
    """Give a task the access token of a CVAT server, if the namespace has its secret."""
    kubernetes.use_secret_as_env(task, CVAT_SECRET, {CVAT_TOKEN: CVAT_TOKEN}, optional=True)


def set_object_store(task: dsl.PipelineTask, secret: str) -> None:
    """Give a task the object store's credentials, by the name of their secret."""
    kubernetes.use_secret_as_env(
        task, secret, {key: key for key in OBJECT_STORE_KEYS}, optional=True
    )
