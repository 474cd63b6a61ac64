"""Command line of convert_labels: a CVAT export becomes a data set, a label report and metrics."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, run_step, step_parser


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser."""
    parser = step_parser(
        "convert_labels",
        "Reads a CVAT export, checks it, and writes one data set artifact of images and masks.",
    )
    parser.add_argument(
        "--source", required=True, help="the export: zip or folder; path, s3:// or minio:// URI"
    )
    parser.add_argument(
        "--images", default="", help="where the images are, if not in the export: like --source"
    )
    parser.add_argument(
        "--classes",
        default="",
        help="'road=surface+marking,car,ignore=sky': target=label+label; '*' is every other label",
    )
    parser.add_argument(
        "--label-map", default="", help="the same as a YAML file (path or URI), for odd names"
    )
    parser.add_argument(
        "--unlabelled",
        choices=("background", "ignore"),
        default="background",
        help="what pixels without a label are: class 0, or no ground truth",
    )
    parser.add_argument(
        "--empty-images",
        choices=("negative", "skip", "fail"),
        default="negative",
        help="images without any label: keep as all background, leave out, or refuse",
    )
    parser.add_argument(
        "--bad-samples",
        choices=("fail", "skip"),
        default="fail",
        help="samples that are wrong: fail once with all of them, or leave out and report",
    )
    parser.add_argument(
        "--group-pattern",
        default="",
        help="regular expression searched in the image's name; its first group (else the match) "
        "names the sample's group",
    )
    parser.add_argument("--dataset", type=Path, required=True, help="output: folder")
    parser.add_argument("--label-report", type=Path, required=True, help="output: HTML file")
    parser.add_argument("--label-metrics", type=Path, required=True, help="output: JSON file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    from components.convert_labels.worker_processes import worker_context

    if len(os.sched_getaffinity(0)) > 1:
        worker_context()  # it imports what workers need while this process does
    from components.convert_labels.request import Request
    from components.convert_labels.step import run

    return run(
        Request(
            source=arguments.source,
            images=arguments.images,
            classes=arguments.classes,
            label_map=arguments.label_map,
            unlabelled=arguments.unlabelled,
            empty_images=arguments.empty_images,
            skip_bad_samples=arguments.bad_samples == "skip",
            group_pattern=arguments.group_pattern,
            dataset=arguments.dataset,
            label_report=arguments.label_report,
            label_metrics=arguments.label_metrics,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
