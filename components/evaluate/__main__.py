"""Measures a checkpoint on the test set: per image, per class, with a report to decide by."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, output_file, output_folder, run_step, step_parser


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of this step."""
    parser = step_parser("evaluate", __doc__)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="checkpoint that train wrote (folder)"
    )
    parser.add_argument("--test", type=Path, required=True, help="test set (folder)")
    parser.add_argument(
        "--evaluation",
        type=Path,
        required=True,
        help="output folder: evaluation.json and per_image.csv",
    )
    parser.add_argument(
        "--metrics", type=Path, required=True, help="output file: the main figures, JSON"
    )
    parser.add_argument(
        "--confusion", type=Path, required=True, help="output file: the confusion matrix, JSON"
    )
    parser.add_argument(
        "--evaluation-report", type=Path, required=True, help="output file: the report, HTML"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads; 0 takes those there are"
    )
    return parser


def work(arguments: argparse.Namespace) -> ArtifactMetadata:
    """Evaluates and writes the four outputs."""
    from components.evaluate.evaluation import evaluate
    from components.evaluate.evaluation_report import build_report
    from components.evaluate.figures import main_figures
    from components.evaluate.results import (
        classification_metrics,
        text_table,
        write_evaluation,
        write_json,
    )

    evaluation = evaluate(arguments.checkpoint, arguments.test, arguments.threads)
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
    sys.stdout.write(text_table(evaluation))
    return {
        "evaluation": {"checkpoint_digest": evaluation.checkpoint_digest},
        "metrics": figures,
        "confusion": confusion,
        "evaluation_report": report.metadata(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns its exit code."""
    return run_step(build_parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
