"""The pipelines' parameter for the cluster that is no option of a step."""

from dataclasses import dataclass

from components.container_images import DATA
from components.kubernetes_names import IMAGE
from components.node_options import NodeOptions
from components.options import check_values, option, same_as


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where the steps run; what training gets there stands with its nodes."""

    data_image: str = option(
        DATA, "Container image of the steps that need no torch, such as convert_labels.", rule=IMAGE
    )
    object_store_secret: str = same_as(NodeOptions, "object_store_secret")

    def __post_init__(self) -> None:
        check_values(self)
