"""Chooses the best of several checkpoints: the choose step's command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.choose.options import ChooseOptions
from components.cli import ArtifactMetadata, add_paths, run_step, step_parser
from components.options import add_flags, read_options


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = step_parser("choose", __doc__ or "")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        nargs="+",
        help="checkpoints that train wrote; in a pipeline --executor-input lists them",
    )
    add_flags(parser, ChooseOptions)
    add_paths(
        parser, checkpoint="output: a copy of the best", choice_report="output: report (HTML)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    options = read_options(ChooseOptions, arguments)
    from components.choose.choosing import choose, listed_checkpoints

    checkpoints = arguments.checkpoints or listed_checkpoints(
        getattr(arguments, "executor_input", "{}")
    )
    return choose(checkpoints, options.metric, arguments.checkpoint, arguments.choice_report)


if __name__ == "__main__":
    sys.exit(main())
