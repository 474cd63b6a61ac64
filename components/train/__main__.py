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
  --multirun trains every combination of several values and compares them:
    --multirun --train DIR --val DIR model=tiny,fpn training.learning_rate=0.001,0.003
"""


PROGRAM = "python -m components.train"
# Of a command to which `--cfg job` was added: what it would train stays unread.
_NEEDED_TO_TRAIN = (
    "--train", "--val", "--checkpoint", "--metrics", "--logs", "--training-report", "--resume",
    "--executor-input",
)  # fmt: skip


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Makes the parser; `program` is what its usage line calls it."""
    parser = step_parser("train", "Train a segmentation network on a data set artifact.")
    parser.prog = program
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


def build_config_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Makes the parser of `--cfg job`: it needs no paths, and takes those of the command."""
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False)
    parser.add_argument("--cfg", choices=["job"], required=True, help="print and exit")
    for flag in _NEEDED_TO_TRAIN:
        parser.add_argument(flag, help=argparse.SUPPRESS)
    _add_overrides(parser)
    return parser


def build_multirun_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Makes the parser of `--multirun`, whose outputs have their places in one folder."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Train every combination of the values given, and compare them.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-m", "--multirun", action="store_true", required=True, help="train every combination")
    add("--train", type=Path, required=True, metavar="DIR", help="data set to learn from")
    add("--val", type=Path, required=True, metavar="DIR", help="data set to compare on")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="output: a folder a combination, comparison.html and .csv; "
        "outputs/multirun/<DATE>/<TIME> when left out",
    )
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
    from components.train.preparation import prepare

    job = prepare(arguments)  # what is wrong is said before torch is imported
    from components.train.step import run

    return run(arguments, job)


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Parses and runs; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if any(item == "--cfg" or item.startswith("--cfg=") for item in given):
        arguments = build_config_parser(program).parse_args(given)
        return guarded(lambda: _print_config(arguments))
    if any(item in ("-m", "--multirun") for item in given):
        several = build_multirun_parser(program).parse_args(given)
        return guarded(lambda: _train_several(several))
    return run_step(build_parser(program), work, given)


def _print_config(arguments: argparse.Namespace) -> None:
    from components.train.compose import compose_config, split_overrides, to_yaml
    from components.train.config import to_train_config

    composed = compose_config(split_overrides(arguments.overrides, arguments.override))
    to_train_config(composed)
    sys.stdout.write(to_yaml(composed))


def _train_several(arguments: argparse.Namespace) -> None:
    import logging

    from components.train.compose import split_overrides
    from components.train.multirun import default_output, train_all
    from segmentor.errors import TrainingError

    # Also under `segmentor`, which shows warnings alone: this may take hours.
    logging.getLogger("components.train.multirun").setLevel(logging.INFO)
    output = arguments.output or default_output()
    overrides = split_overrides(arguments.overrides, arguments.override)
    results = train_all(arguments.train, arguments.val, output, overrides)
    from components.train.run_table import PAGE, write_tables

    sys.stdout.write(f"{write_tables(output, results)}{output / PAGE}\n")
    failed = [result.folder.name for result in results if result.error]
    if failed:
        raise TrainingError(
            str(output),
            f"{len(failed)} of {len(results)} combinations failed ({', '.join(failed)})",
            remedy="the same command trains them again, and them alone",
        )


if __name__ == "__main__":
    sys.exit(main())
