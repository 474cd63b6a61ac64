"""The command line of the train step; what is heavy is imported after parsing."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import (
    ArtifactMetadata,
    add_paths,
    guarded,
    refuse_dashes,
    run_step,
    step_parser,
)
from components.help_pages import HelpFormatter
from components.node_options import NodeOptions
from components.options import add_flags, read_options
from components.train.options import TrainOptions

_EPILOG = """\
configuration:
  Hydra overrides follow the flags, e.g.
    model=unet_resnet34 processing.size=[256,512] training.epochs=40 training.loss='{focal: 1}'
  --cfg job prints the composed configuration and exits.
  --multirun trains every combination of several values and compares them:
    --multirun --train DIR --val DIR model=tiny,fpn training.learning_rate=0.001,0.003
  --multirun --trials N searches: N trainings, whose values Optuna chooses:
    --multirun --trials 20 ... 'training.learning_rate=tag(log,interval(1e-4,1e-2))'
"""


PROGRAM = "python -m components.train"
# Flags of a training command to which `--cfg job` was added; they are accepted and ignored.
_NEEDED_TO_TRAIN = (
    "--train", "--val", "--checkpoint", "--metrics", "--logs", "--training-report", "--resume",
    "--executor-input",
)  # fmt: skip


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Make the parser; `program` is what its usage line calls it."""
    parser = step_parser("train", "Train a segmentation network on a data set artifact.")
    parser.prog = program
    parser.epilog = _EPILOG
    add_paths(
        parser,
        train="data set to learn from",
        val="data set to choose the epoch on",
        checkpoint="output: weights and contract",
        metrics="output: figures (JSON)",
        logs="output: TensorBoard events",
        training_report="output: report (HTML)",
    )
    parser.add_argument("--resume", type=Path, help="a checkpoint to go on from")
    _add_overrides(parser)
    return parser


def build_config_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Make the parser of `--cfg job`: it needs no paths, and takes those of the command."""
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False)
    parser.add_argument("--cfg", choices=["job"], required=True, help="print and exit")
    for flag in _NEEDED_TO_TRAIN:
        parser.add_argument(flag, help=argparse.SUPPRESS)
    _add_overrides(parser)
    return parser


def build_multirun_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Make the parser of `--multirun`, whose outputs have their places in one folder."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Train several times: every combination of the values given, or a search.",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-m", "--multirun", action="store_true", required=True, help="train several times")
    add_paths(parser, train="data set to learn from", val="data set to compare on")
    add(
        "--output",
        type=Path,
        help="output: a folder a combination, comparison.html and .csv; "
        "outputs/multirun/<DATE>/<TIME> when left out",
    )
    add(
        "--trials",
        type=_at_least_one,
        metavar="N",
        help="search: train N times, with values that Optuna chooses by the results so far",
    )
    _add_overrides(parser)
    return parser


def _at_least_one(text: str) -> int:
    """Read the number of trials."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number, 1 or greater")
    return int(text)


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    add_flags(parser, TrainOptions, NodeOptions)
    parser.add_argument("override", nargs="*", help="Hydra overrides")


def work(arguments: argparse.Namespace) -> ArtifactMetadata:
    """Run the step."""
    # Idle threads spin by default: beside any other process on the same cores, each step of
    # training then takes twice as long and more. Read by OpenMP when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from components.train.configuration.preparation import prepare

    nodes = read_options(NodeOptions, arguments)
    job = prepare(arguments)  # what is wrong is said before torch is imported
    if nodes.train_nodes > 1:
        from components.train.trainer_job.launcher import train_on_nodes

        return train_on_nodes(arguments, job)
    from components.train.step import run

    return run(arguments, job)


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Parse and run; return the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    refuse_dashes(given)
    if any(item == "--cfg" or item.startswith("--cfg=") for item in given):
        arguments = build_config_parser(program).parse_args(given)
        return guarded(lambda: _print_config(arguments))
    if any(item in ("-m", "--multirun") for item in given):
        several = build_multirun_parser(program).parse_args(given)
        return guarded(lambda: _train_several(several))
    return run_step(build_parser(program), work, given)


def _print_config(arguments: argparse.Namespace) -> None:
    from components.train.configuration.compose import compose_config, split_overrides, to_yaml
    from components.train.configuration.config import to_train_config

    composed = compose_config(split_overrides(arguments.train_overrides, arguments.override))
    to_train_config(composed)
    sys.stdout.write(to_yaml(composed))


def _train_several(arguments: argparse.Namespace) -> None:
    import logging

    from components.train.configuration.compose import split_overrides
    from components.train.multirun.combinations import default_output, train_all
    from segmentor.errors import TrainingError

    # Also under `segmentor`, which shows warnings alone: this may take hours.
    logging.getLogger("components.train.multirun").setLevel(logging.INFO)
    output = arguments.output or default_output()
    overrides = split_overrides(arguments.train_overrides, arguments.override)
    data = arguments.train, arguments.val
    if arguments.trials:
        from components.train.multirun.search import search

        results = search(*data, output, overrides, arguments.trials)
    else:
        results = train_all(*data, output, overrides)
    from components.train.multirun.table import PAGE, write_tables

    sys.stdout.write(f"{write_tables(output, results)}{output / PAGE}\n")
    failed = [result.folder.name for result in results if result.error]
    # A value at which training fails is something that a search finds out.
    if failed and (not arguments.trials or len(failed) == len(results)):
        raise TrainingError(
            str(output),
            f"{len(failed)} of {len(results)} trainings failed ({', '.join(failed)})",
            remedy="give other values and another --output"
            if arguments.trials
            else "the same command trains them again, and them alone",
        )


if __name__ == "__main__":
    sys.exit(main())
