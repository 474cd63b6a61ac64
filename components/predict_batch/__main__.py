"""Predicts all images of a prefix or a list in the object store: predict_batch's command line.

Masks and predictions.jsonl are written to the object store. With --predict-workers above 1 the
work is done by the pods of an Indexed Job, which this command submits and watches.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from components.cli import ArtifactMetadata, add_paths, output_file, run_step, step_parser
from components.options import add_flags, read_options
from components.predict_batch.options import PredictBatchOptions
from segmentor.plurals import counted


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = step_parser("predict_batch", __doc__ or "")
    add_flags(parser, PredictBatchOptions)
    add_paths(
        parser,
        prediction_summary="output file: the summary, JSON",
        prediction_metrics="output file: the metrics, JSON",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return the exit code."""
    return run_step(build_parser(), _work, argv)


def _work(arguments: argparse.Namespace) -> ArtifactMetadata:
    options = read_options(PredictBatchOptions, arguments)
    from components.predict_batch.step import PredictAll, predict_batch, predict_here

    predict_all: PredictAll = predict_here
    if options.predict_workers > 1:
        from components.predict_batch.job import predict_in_pods

        predict_all = predict_in_pods(options)
    plan, totals = predict_batch(
        options.batch_images,
        options.published_model,
        options.predictions,
        options.mask_files,
        predict_all,
    )
    metrics = {
        "images": totals.images,
        "masks": totals.masks,
        "bad_images": totals.bad_images,
        **totals.means(),
    }
    summary = {**asdict(plan), "predictions": options.predictions, **metrics}
    with (
        output_file(arguments.prediction_summary) as summary_file,
        output_file(arguments.prediction_metrics) as metrics_file,
    ):
        text = json.dumps({**summary, "first_bad_images": totals.first_bad}, indent=2)
        summary_file.write_text(f"{text}\n", encoding="utf-8")
        metrics_file.write_text(json.dumps(metrics, allow_nan=False), encoding="utf-8")
    noted = {"predictions": options.predictions, "model_digest": plan.order.model_digest}
    if totals.bad_images:
        bad = counted(totals.bad_images, "bad image has", "bad images have")
        more = [f"{bad} no mask, among them", *totals.first_bad]
        noted["warnings"] = "\n".join(more)
    return {"prediction_summary": noted, "prediction_metrics": metrics}


if __name__ == "__main__":
    sys.exit(main())
