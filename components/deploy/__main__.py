"""Publishes a model that passed its gate, and serves it: the deploy step's command line.

The gate compares what evaluate and export measured with the thresholds. A model that passes is
published under an immutable version; its InferenceService is written, or applied to the cluster.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from components.cli import ArtifactMetadata, run_step, step_parser
from components.deploy.options import add_options, read_plan


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
    add_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    from components.deploy.deployment import deploy

    plan = replace(read_plan(arguments), test=arguments.test)
    return deploy(
        arguments.model, arguments.evaluation, arguments.parity, arguments.deployment, plan
    )


if __name__ == "__main__":
    sys.exit(main())
