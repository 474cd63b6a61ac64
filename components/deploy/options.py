"""What deploy is asked for besides its inputs: the options, and the plan that they make.

They are those of deploy and of check_deployment, which looks at them before anything is trained.
"""

import argparse
from typing import TYPE_CHECKING

from segmentor.export_choices import MAX_IOU_LOSS

if TYPE_CHECKING:
    from components.deploy.deployment import Plan


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options. Empty strings mean 'not given': KFP passes every parameter."""
    options = parser.add_argument_group("publishing")
    options.add_argument("--name", required=True, help="of the model and its InferenceService")
    options.add_argument(
        "--destination",
        required=True,
        metavar="URI",
        help="s3://bucket[/prefix]; the model goes to <destination>/<name>/<version>/",
    )
    options.add_argument(
        "--version", default="", help="'' takes the first 12 hex digits of the model's digest"
    )
    gate = parser.add_argument_group("gate")
    gate.add_argument("--min-iou", type=float, default=0.5, help="on the test set")
    gate.add_argument(
        "--max-probability-difference", type=float, default=1e-4, help="torch against ONNX"
    )
    gate.add_argument(
        "--max-flipped-fraction", type=float, default=1e-5, help="torch against ONNX, of the pixels"
    )
    gate.add_argument(
        "--max-iou-loss",
        type=float,
        default=MAX_IOU_LOSS,
        help="of an INT8 model against its checkpoint, on the test set",
    )
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument("--namespace", default="default", help="of the InferenceService")
    cluster.add_argument(
        "--service-account",
        default="segmentor-predictor",
        help="whose secret has the object store's credentials; '' takes the namespace's default",
    )
    cluster.add_argument(
        "--apply",
        type=boolean,
        default=False,
        metavar="true|false",
        help="apply to the cluster, wait until this version is ready, check it, or roll back",
    )
    cluster.add_argument(
        "--predictor-image",
        default="",
        help="with it, the ServingRuntime is applied too; '' leaves the cluster's own alone",
    )
    cluster.add_argument(
        "--max-iou-drop",
        type=float,
        default=0.0,
        help="gate: how much worse than the served version the model may surely be, on the same "
        "test set (paired bootstrap, 95 %% interval)",
    )
    cluster.add_argument(
        "--deadline", type=float, default=600.0, metavar="SECONDS", help="to become ready"
    )


def boolean(text: str) -> bool:
    """Reads a Boolean as KFP writes it."""
    values = {"true": True, "1": True, "false": False, "0": False, "": False}
    try:
        return values[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false") from None


def read_plan(arguments: argparse.Namespace) -> "Plan":
    """Returns the plan that the options make.

    Raises:
        ConfigError: a name, a threshold or the deadline is none.
    """
    from components.deploy.deployment import Plan
    from components.deploy.gate import Thresholds
    from components.deploy.inference_service import Target
    from components.deploy.rollout import Patience
    from components.deploy.serving_cluster import Rollout

    rollout = Rollout(
        Patience(arguments.deadline),
        arguments.predictor_image,
        arguments.max_flipped_fraction,
    )
    return Plan(
        Target(arguments.name, arguments.namespace, arguments.service_account),
        Thresholds(
            arguments.min_iou,
            arguments.max_probability_difference,
            arguments.max_flipped_fraction,
            arguments.max_iou_drop,
            arguments.max_iou_loss,
        ),
        arguments.destination,
        arguments.version,
        rollout if arguments.apply else None,
    )
