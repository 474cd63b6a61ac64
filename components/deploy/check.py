"""Checks before any training what deploy will need: check_deployment's command line.

Names, thresholds and the version are read as deploy reads them, the object store is asked for the
destination, and with --apply the cluster is asked to apply the manifest without keeping it. So a
wrong name, a missing Role or namespace, or a missing KServe is found at once, and so is a word that
export, which also comes after the training, does not know. With several nodes to train on, Kubeflow
Trainer is asked for them in the same way.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, output_file, run_step, step_parser
from components.deploy.options import DeployOptions, SourceOptions
from components.export.options import ExportOptions
from components.node_options import STEP_RESOURCES, NodeOptions
from components.options import add_flags, flag_of, read_options


def build_parser() -> argparse.ArgumentParser:
    """Make the parser: the options of deploy and export, both of which run after training."""
    parser = step_parser("deploy.check", __doc__ or "")
    add_flags(parser, DeployOptions, ExportOptions, SourceOptions, NodeOptions)
    parser.add_argument("--source-state", type=Path, help="output: text file, the source's state")
    for name in STEP_RESOURCES:
        said = f"output: text file, {name.removeprefix('train_step_')} of the train step's own pod"
        parser.add_argument(flag_of(name), type=Path, help=said)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    read_options(ExportOptions, arguments)
    options = read_options(DeployOptions, arguments)
    nodes = read_options(NodeOptions, arguments)
    from components.deploy.deployment import Plan
    from components.deploy.rehearsal import lost_of, rehearse, secret_named
    from components.train_job import rehearse_training

    with secret_named(nodes.object_store_secret):
        rehearse(Plan.of(options))
    rehearse_training(nodes)
    if arguments.source_state:
        from segmentor.source_state import source_state

        state = source_state(vars(read_options(SourceOptions, arguments)))
        # Another text makes KFP convert again what its cache holds without its pixels.
        _write(arguments.source_state, " ".join([state, *lost_of(options, state)]))
    for name, value in nodes.step_resources().items():
        if path := getattr(arguments, name):
            _write(path, value)
    return {}


def _write(path: Path, text: str) -> None:
    with output_file(path) as file:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
