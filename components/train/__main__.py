"""The command line of the train step; what is heavy is imported after parsing."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, guarded, run_step, step_parser

_EPILOG = """\
configuration:
  Hydra overrides follow the flags, e.g.
    model=unet_resnet34 processing.size=[256,512] training.epochs=40 training.loss='{focal: 1}'
  --cfg job prints the composed configuration and exits.
"""


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser."""
    parser = step_parser("train", "Train a segmentation network on a data set artifact.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--train", type=Path, required=True, metavar="DIR", help="data set to learn from")
    add("--val", type=Path, required=True, metavar="DIR", help="data set to choose the epoch on")
    add(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="output: weights and contract"
    )
    add("--metrics", type=Path, required=True, metavar="FILE", help="output: figures (JSON)")
    add("--logs", type=Path, required=True, metavar="DIR", help="output: TensorBoard events")
    add("--training-report", type=Path, required=True, metavar="FILE", help="output: report (HTML)")
    add("--resume", type=Path, metavar="DIR", help="a checkpoint to go on from")
    _add_overrides(parser)
    return parser


def build_config_parser() -> argparse.ArgumentParser:
    """Makes the parser of `--cfg job`, which needs no paths."""
    parser = argparse.ArgumentParser(prog="python -m components.train", allow_abbrev=False)
    parser.add_argument("--cfg", choices=["job"], required=True, help="print and exit")
    _add_overrides(parser)
    return parser


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overrides", default="", metavar="TEXT", help="Hydra overrides in one text"
    )
    parser.add_argument("override", nargs="*", help="Hydra overrides")


def work(arguments: argparse.Namespace) -> ArtifactMetadata:
    """Runs the step."""
    # Idle threads spin by default: beside any other process on the same cores, each step of
    # training then takes twice as long and more. Read by OpenMP when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from components.train.step import run

    return run(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses and runs; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if any(item == "--cfg" or item.startswith("--cfg=") for item in given):
        arguments, _ = build_config_parser().parse_known_args(given)
        return guarded(lambda: _print_config(arguments))
    return run_step(build_parser(), work, given)


def _print_config(arguments: argparse.Namespace) -> None:
    from components.train.compose import compose_config, split_overrides, to_yaml
    from components.train.config import to_train_config

    composed = compose_config(split_overrides(arguments.overrides, arguments.override))
    to_train_config(composed)
    sys.stdout.write(to_yaml(composed))


if __name__ == "__main__":
    sys.exit(main())
