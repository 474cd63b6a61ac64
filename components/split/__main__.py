"""Command line of split: one data set becomes train, val and test, and a report."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, run_step, step_parser


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser."""
    parser = step_parser(
        "split", "Divides a data set into train, val and test, by group, without tearing one."
    )
    parser.add_argument("--dataset", type=Path, required=True, help="what convert_labels wrote")
    parser.add_argument(
        "--ratios", default="0.7,0.2,0.1", help="shares of train,val,test: 0.7,0.2,0.1 or 7,2,1"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="seed of the division, from 0 on")
    parser.add_argument(
        "--honour-subsets",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="true|false",
        help="keep the export's own subsets train, val and test instead of dividing anew; one that "
        "is not there is taken out of train by its ratio",
    )
    parser.add_argument(
        "--near-duplicates",
        choices=("together", "report"),
        default="together",
        help="images that look the same: keep in one split, or only report those apart",
    )
    parser.add_argument("--train", type=Path, required=True, help="output: folder")
    parser.add_argument("--val", type=Path, required=True, help="output: folder")
    parser.add_argument("--test", type=Path, required=True, help="output: folder")
    parser.add_argument("--split-report", type=Path, required=True, help="output: HTML file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    from components.split.step import Request, run

    return run(
        Request(
            dataset=arguments.dataset,
            outputs=(arguments.train, arguments.val, arguments.test),
            split_report=arguments.split_report,
            ratios=arguments.ratios,
            seed=arguments.seed,
            honour_subsets=arguments.honour_subsets,
            join_near_duplicates=arguments.near_duplicates == "together",
        )
    )


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 on")
    return int(text)


def _boolean(text: str) -> bool:
    # The cluster and kfp.local write booleans differently.
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no", ""):
        return False
    raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")


if __name__ == "__main__":
    sys.exit(main())
