"""Measures a checkpoint on the test set: per image, per class, with a report to decide by."""

import argparse
import sys
from collections.abc import Sequence

from components.cli import (
    ArtifactMetadata,
    add_paths,
    output_file,
    output_folder,
    run_step,
    step_parser,
)
from components.evaluate.options import EvaluateOptions
from components.options import add_flags, read_options


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = step_parser("evaluate", __doc__)
    add_paths(
        parser,
        checkpoint="checkpoint that train wrote (folder)",
        test="test set (folder)",
        evaluation="output folder: evaluation.json and per_image.csv",
        metrics="output file: the main figures, JSON",
        confusion="output file: the confusion matrix, JSON",
        evaluation_report="output file: the report, HTML",
    )
    add_flags(parser, EvaluateOptions)
    return parser


def work(arguments: argparse.Namespace) -> ArtifactMetadata:
    """Evaluate and write the four outputs."""
    options = read_options(EvaluateOptions, arguments)
    from components.evaluate.evaluation import evaluate
    from components.evaluate.evaluation_report import build_report
    from components.evaluate.figures import main_figures
    from components.evaluate.results import (
        classification_metrics,
        terminal_tables,
        write_evaluation,
        write_json,
    )

    evaluation = evaluate(arguments.checkpoint, arguments.test, options.threads)
    figures = main_figures(evaluation)
    confusion = classification_metrics(evaluation)
    report = build_report(evaluation)
    with (
        output_folder(arguments.evaluation) as folder,
        output_file(arguments.metrics) as metrics_file,
        output_file(arguments.confusion) as confusion_file,
        output_file(arguments.evaluation_report) as report_file,
    ):
        write_evaluation(folder, evaluation)
        write_json(metrics_file, figures)
        write_json(confusion_file, confusion)
        report_file.write_text(report.html(), encoding="utf-8")
    sys.stdout.write(terminal_tables(evaluation))
    return {
        "evaluation": {"checkpoint_digest": evaluation.checkpoint_digest},
        "metrics": figures,
        "confusion": confusion,
        "evaluation_report": report.metadata(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return its exit code."""
    return run_step(build_parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
