"""The options of deploy, and of check_deployment, which tries them before anything is trained."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.convert_labels.options import ConvertLabelsOptions
from components.export.options import ExportOptions
from components.kubernetes_names import IMAGE_OR_NOTHING, OBJECT_NAME_OR_NOTHING
from components.options import (
    FRACTION,
    Rule,
    check_values,
    destination,
    option,
    options_of,
    same_as,
)

if TYPE_CHECKING:
    from components.deploy.kserve.inference_service import Target

_VERSION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where convert_labels will read: check_deployment reports what is there today."""

    source: str = option("", options_of(ConvertLabelsOptions)["source"].help)
    images: str = same_as(ConvertLabelsOptions, "images")
    label_map: str = same_as(ConvertLabelsOptions, "label_map")


@dataclass(frozen=True, kw_only=True)
class DeployOptions:
    """What the gate asks of a model, where it is published, and who serves it."""

    model_name: str = option("segmentation", "Name of the model and of its InferenceService.")
    destination: str = destination()
    version: str = option(
        "",
        "Version to publish; empty uses the first 12 hex digits of the model's digest.",
        rule=Rule(
            lambda value: not value or bool(_VERSION.fullmatch(value)),
            "up to 63 letters, digits, '.', '_', '-'",
        ),
    )
    namespace: str = option("segmentor", "Kubernetes namespace of the InferenceService.")
    predictor_service_account: str = option(
        "segmentor-predictor",
        "Service account whose secret lets the predictor read the model; empty uses the "
        "namespace's default.",
        rule=OBJECT_NAME_OR_NOTHING,
    )
    min_iou: float = option(0.5, "Gate: the lowest IoU on the test set that passes.", rule=FRACTION)
    max_probability_difference: float = same_as(ExportOptions, "max_probability_difference")
    max_flipped_fraction: float = same_as(ExportOptions, "max_flipped_fraction")
    max_iou_loss: float = same_as(ExportOptions, "max_iou_loss")
    max_iou_drop: float = option(
        0.0,
        "Gate: how far below the served version's IoU the model may be on the same test set "
        "(paired bootstrap, 95 % interval).",
        rule=FRACTION,
    )
    predictor_image: str = option(
        "",
        "Container image that serves this model; empty uses the one of the ServingRuntime.",
        rule=IMAGE_OR_NOTHING,
    )
    apply: bool = option(
        False,
        "Apply the InferenceService, wait until it is ready, verify it, and roll back on failure; "
        "false only writes its manifest.",
    )
    deploy_deadline: int = option(
        600,
        "Seconds the model may take to become ready before it is rolled back.",
        rule=Rule(lambda value: value > 0, "more than 0 seconds"),
    )

    def __post_init__(self) -> None:
        check_values(self)
        from segmentor.object_uri import ObjectUri

        ObjectUri.parse(self.destination)
        self.target()

    def target(self) -> "Target":
        """Return which InferenceService serves the model.

        Raises:
            ConfigError: a name that Kubernetes refuses.
        """
        from components.deploy.kserve.inference_service import Target

        return Target(self.model_name, self.namespace, self.predictor_service_account)
