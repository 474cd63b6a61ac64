"""Command line of convert_labels: a CVAT export becomes a data set, a label report and metrics."""

import argparse
import os
import sys
from collections.abc import Sequence

from components.cli import ArtifactMetadata, add_paths, run_step, step_parser
from components.convert_labels.options import CheckedSource, ConvertLabelsOptions
from components.options import add_flags, read_options


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = step_parser(
        "convert_labels",
        "Reads a CVAT export, checks it, and writes one data set artifact of images and masks.",
    )
    add_flags(parser, ConvertLabelsOptions, CheckedSource)
    add_paths(
        parser,
        dataset="output: folder",
        label_report="output: HTML file",
        label_metrics="output: JSON file",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    from components.convert_labels.worker_processes import worker_context

    if len(os.sched_getaffinity(0)) > 1:
        worker_context()  # it imports what workers need while this process does
    options = read_options(ConvertLabelsOptions, arguments)
    from components.convert_labels.paths import OutputPaths
    from components.convert_labels.step import run

    paths = OutputPaths(arguments.dataset, arguments.label_report, arguments.label_metrics)
    return run(options, paths, arguments.source_state)


if __name__ == "__main__":
    sys.exit(main())
