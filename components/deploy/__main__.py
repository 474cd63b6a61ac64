"""Publishes a model that passed its gate, and serves it: the deploy step's command line.

The gate compares what evaluate and export measured with the thresholds. A model that passes is
published under an immutable version; its InferenceService is written, or applied to the cluster.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, add_paths, run_step, step_parser
from components.deploy.options import DeployOptions
from components.options import add_flags, read_options


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = step_parser("deploy", __doc__ or "")
    add_paths(
        parser,
        model="folder with model.onnx, of export",
        evaluation="folder with evaluation.json and per_image.csv, of evaluate",
        parity="metrics file of export",
        deployment="output folder: inference_service.yaml and deployment.json",
        deployment_report="output file: the page, HTML",
    )
    parser.add_argument(
        "--test",
        type=Path,
        help="test set; some of its images are published with the model for the golden request",
    )
    add_flags(parser, DeployOptions)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    options = read_options(DeployOptions, arguments)
    from components.deploy.deployment import Plan, deploy

    plan = Plan.of(options, arguments.test)
    return deploy(
        arguments.model,
        arguments.evaluation,
        arguments.parity,
        arguments.deployment,
        arguments.deployment_report,
        plan,
    )


if __name__ == "__main__":
    sys.exit(main())
