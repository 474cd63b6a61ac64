"""Publishes a model that passed its gate, and serves it: the deploy step's command line.

The gate compares what evaluate and export measured with the thresholds. A model that passes is
published under an immutable version; its InferenceService is written, or applied to the cluster.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, run_step, step_parser


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser. Empty strings mean 'not given': KFP passes every parameter."""
    parser = step_parser("deploy", __doc__ or "")
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument(
        "--model", type=Path, required=True, help="folder with model.onnx, of export"
    )
    inputs.add_argument(
        "--evaluation",
        type=Path,
        required=True,
        help="folder with evaluation.json and per_image.csv, of evaluate",
    )
    inputs.add_argument("--parity", type=Path, required=True, help="metrics file of export")
    inputs.add_argument(
        "--test",
        type=Path,
        help="test set, of which images are kept with the model and sent by the golden request",
    )
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument(
        "--deployment",
        type=Path,
        required=True,
        help="folder for inference_service.yaml and deployment.json",
    )
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
    return parser


def boolean(text: str) -> bool:
    """Reads a Boolean as KFP writes it."""
    values = {"true": True, "1": True, "false": False, "0": False, "": False}
    try:
        return values[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    from components.deploy.deployment import Plan, deploy
    from components.deploy.gate import Thresholds
    from components.deploy.inference_service import Target
    from components.deploy.rollout import Patience
    from components.deploy.serving_cluster import Rollout

    rollout = Rollout(
        Patience(arguments.deadline),
        arguments.predictor_image,
        arguments.max_flipped_fraction,
    )
    plan = Plan(
        Target(arguments.name, arguments.namespace, arguments.service_account),
        Thresholds(
            arguments.min_iou,
            arguments.max_probability_difference,
            arguments.max_flipped_fraction,
            arguments.max_iou_drop,
        ),
        arguments.destination,
        arguments.version,
        rollout if arguments.apply else None,
        arguments.test,
    )
    return deploy(
        arguments.model, arguments.evaluation, arguments.parity, arguments.deployment, plan
    )


if __name__ == "__main__":
    sys.exit(main())
