"""Chooses the best of several checkpoints: the choose step's command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, run_step, step_parser


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser."""
    parser = step_parser("choose", __doc__ or "")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="checkpoints that train wrote; in a pipeline --executor-input lists them",
    )
    parser.add_argument("--metric", default="val_iou", help="of training; the greatest wins")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="output: a copy of the best"
    )
    parser.add_argument(
        "--choice-report", type=Path, required=True, metavar="FILE", help="output: report (HTML)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    from components.choose.choosing import choose, listed_checkpoints

    checkpoints = arguments.checkpoints or listed_checkpoints(
        getattr(arguments, "executor_input", "{}")
    )
    return choose(checkpoints, arguments.metric, arguments.checkpoint, arguments.choice_report)


if __name__ == "__main__":
    sys.exit(main())
