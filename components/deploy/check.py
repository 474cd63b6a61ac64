"""Checks before any training what deploy will be asked for: check_deployment's command line.

Names, thresholds and the version are read as deploy reads them, the object store is asked for the
destination, and with --apply the cluster is asked to apply the manifests without keeping them. So a
wrong name, a missing Role or namespace, a KServe that is not there are found at once; and so are
words that export, which also comes after the training, does not know.
"""

import argparse
import sys
from collections.abc import Sequence

from components.cli import ArtifactMetadata, run_step, step_parser
from components.deploy.options import add_options, read_plan
from segmentor.export_choices import PRECISIONS, SIZE_POLICIES


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser: the options of deploy, and those of export that are words."""
    parser = step_parser("deploy.check", __doc__ or "")
    words = parser.add_argument_group("export")
    words.add_argument("--size-policy", choices=SIZE_POLICIES, default="trained", help="of export")
    words.add_argument("--precision", choices=PRECISIONS, default="float32", help="of export")
    add_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    from components.deploy.rehearsal import rehearse

    rehearse(read_plan(arguments))
    return {}


if __name__ == "__main__":
    sys.exit(main())
