"""Writes the summary of a pipeline run: the exit handler's command line, run after any ending."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, run_step, step_parser

PARAMETERS = (
    *("source", "classes", "train_overrides", "override_sets", "model_name", "destination"),
    "min_iou",
)


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser."""
    parser = step_parser("summarise", __doc__ or "")
    parser.add_argument(
        "--status", required=True, metavar="JSON", help="KFP's PipelineTaskFinalStatus"
    )
    parser.add_argument("--run-name", default="", help="of the run")
    parser.add_argument("--run-id", default="", help="of the run")
    for name in PARAMETERS:
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, default="", help="parameter of the run")
    parser.add_argument("--summary", type=Path, required=True, help="output file: the page, HTML")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    from components.summarise.summary import summarise

    return {
        "summary": summarise(
            arguments.status,
            arguments.run_name,
            arguments.run_id,
            {name: getattr(arguments, name) for name in PARAMETERS},
            arguments.summary,
        )
    }


if __name__ == "__main__":
    sys.exit(main())
