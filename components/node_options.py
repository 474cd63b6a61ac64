"""The options of training on a cluster: how many nodes, what each gets, and from where.

check_deployment reads them too: it asks the cluster for the nodes before anything is trained, and
says what the train step's own pod needs.
"""

import math
from dataclasses import dataclass
from typing import Any

from components.container_images import TRAINER
from components.kubernetes_names import (
    IMAGE,
    OBJECT_NAME,
    POSITIVE_QUANTITY,
    RESOURCE_NAME,
    quantity,
)
from components.options import Rule, check_values, option

MOST_NODES = 100
STEP_RESOURCES = ("train_step_cpu", "train_step_memory", "train_step_accelerators")
# Keys of the secret, which are also the variables that steps read.
OBJECT_STORE_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "S3_ENDPOINT",
)
_TOLERATION_KEYS = {"key", "operator", "value", "effect", "tolerationSeconds"}


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """How many nodes train on a cluster, and what each of them gets."""

    train_nodes: int = option(
        1,
        "Nodes that train together. 1 trains in the step's own pod; with more, the step submits a "
        "TrainJob to Kubeflow Trainer, and each node gets the resources below.",
        rule=Rule(lambda value: 1 <= value <= MOST_NODES, f"a whole number in 1..{MOST_NODES}"),
    )
    trainer_image: str = option(
        TRAINER, "Container image of train, evaluate and export.", rule=IMAGE
    )
    object_store_secret: str = option(
        "segmentor-object-store",
        "Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and S3_ENDPOINT.",
        rule=OBJECT_NAME,
    )
    train_cpu: str = option(
        "1", "CPUs for training in Kubernetes notation ('2', '500m').", rule=POSITIVE_QUANTITY
    )
    train_memory: str = option(
        "4Gi", "Memory for training, shared memory included ('8Gi').", rule=POSITIVE_QUANTITY
    )
    train_accelerator_type: str = option(
        "nvidia.com/gpu",
        "Resource name of the accelerators for training.",
        rule=RESOURCE_NAME,
    )
    train_accelerators: str = option(
        "0",
        "Number of accelerators for training; '0' for none, never empty.",
        rule=Rule(str.isdecimal, "a whole number ('0' for none)"),
    )
    train_node_selector: dict[str, Any] = option(
        {},
        'Labels of the nodes that training may run on ({"disk": "ssd"}).',
        rule=Rule(
            lambda value: all(isinstance(item, str) for item in value.values()),
            'labels whose values are texts ({"gpu": "true"})',
        ),
    )
    train_tolerations: list[Any] = option(
        [],
        "Tolerations of the training pod, as in a pod specification.",
        rule=Rule(
            lambda value: all(
                isinstance(item, dict) and set(item) <= _TOLERATION_KEYS for item in value
            ),
            f"a list of objects with keys among {', '.join(sorted(_TOLERATION_KEYS))}",
        ),
    )

    def __post_init__(self) -> None:
        check_values(self)

    @property
    def processes_per_node(self) -> int:
        """Return how many processes train on each node: one for each accelerator."""
        return max(1, int(self.train_accelerators))

    @property
    def processes(self) -> int:
        """Return how many processes train together."""
        return self.train_nodes * self.processes_per_node

    @property
    def threads(self) -> int:
        """Return the threads of each process, which decide the weights: its share of the CPUs."""
        return max(1, math.floor(quantity(self.train_cpu) / self.processes_per_node))

    def step_resources(self) -> dict[str, str]:
        """Return what the train step's own pod needs, by check_deployment's outputs.

        With several nodes it only watches them, and must not hold an accelerator meanwhile.
        """
        if self.train_nodes > 1:
            own = ("500m", "1Gi", "0")
        else:
            own = (self.train_cpu, self.train_memory, self.train_accelerators)
        return dict(zip(STEP_RESOURCES, own, strict=True))
