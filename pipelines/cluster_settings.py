"""What a cluster must know of a task beyond its command: resources, secrets, retries, limits.

Everything that KFP can take at run time is a pipeline parameter. Retries, timeouts and how long a
finished run is kept are numbers in the compiled file, because KFP's format has no place for more
(docs/decisions/0012-cluster-settings.md).
"""

from kfp import dsl, kubernetes

SECONDS_PER_HOUR = 3600
RETRIES = 2
SECONDS_TO_KEEP_RUNS = 14 * 24 * SECONDS_PER_HOUR
LABEL = "app.kubernetes.io"
# Keys of the secret, which are also the variables that steps read.
OBJECT_STORE_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "S3_ENDPOINT",
)


def pipeline_settings() -> dsl.PipelineConfig:
    """Returns the settings of a whole run."""
    return dsl.PipelineConfig(ttl_seconds_after_finished=SECONDS_TO_KEEP_RUNS)


def set_basics(
    task: dsl.PipelineTask,
    image: str,
    hours: int,
    cpu: str = "500m",
    memory: str = "1Gi",
) -> dsl.PipelineTask:
    """Gives a task its image, labels, a deadline, and the least it needs.

    Args:
        task: The task.
        image: Its container image; a pipeline parameter.
        hours: After these its pod is ended.
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
    task: dsl.PipelineTask,
    cpu: str,
    memory: str,
    accelerator_type: str,
    accelerators: str,
    node_selector: dict,
    tolerations: list,
) -> None:
    """Gives the train task what it computes with; every value is a pipeline parameter."""
    task.set_cpu_request(cpu).set_cpu_limit(cpu)
    task.set_memory_request(memory).set_memory_limit(memory)
    task.set_accelerator_type(accelerator_type).set_accelerator_limit(accelerators)
    # These setters forget to tell the compiler, which then leaves the parameters out of the exit
    # handler's group: such a file compiles, runs locally, and fails on the cluster.
    task.register_pipeline_channels([cpu, memory, accelerator_type, accelerators])
    kubernetes.add_node_selector_json(task, node_selector)
    kubernetes.add_toleration_json(task, tolerations)
    # Data loaders pass batches through it; 64 MB otherwise. The memory limit bounds it.
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory")


def set_object_store(task: dsl.PipelineTask, secret: str) -> None:
    """Gives a task the object store's credentials, by the name of their secret."""
    kubernetes.use_secret_as_env(
        task, secret, {key: key for key in OBJECT_STORE_KEYS}, optional=True
    )


def set_retries(task: dsl.PipelineTask) -> None:
    """Repeats a task that talks to the network, after 30 seconds and after 60."""
    task.set_retry(RETRIES, backoff_duration="30s", backoff_factor=2, backoff_max_duration="300s")
