"""Command line of split: one data set becomes train, val and test, and a report."""

import argparse
import sys
from collections.abc import Sequence

from components.cli import ArtifactMetadata, add_paths, run_step, step_parser
from components.options import add_flags, read_options
from components.split.options import SplitOptions


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = step_parser(
        "split", "Divides a data set into train, val and test, by group, without tearing one."
    )
    add_paths(parser, dataset="what convert_labels wrote")
    add_flags(parser, SplitOptions)
    folders = dict.fromkeys(("train", "val", "test"), "output: folder")
    add_paths(parser, **folders, split_report="output: HTML file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    options = read_options(SplitOptions, arguments)
    from components.split.step import Paths, run

    outputs = (arguments.train, arguments.val, arguments.test)
    return run(options, Paths(arguments.dataset, outputs, arguments.split_report))


if __name__ == "__main__":
    sys.exit(main())
