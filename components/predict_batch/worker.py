"""Predicts the parts of one index of the Job: what its pods run.

The index is in JOB_COMPLETION_INDEX, where Kubernetes writes it. The plan in the object store says
everything else, so a pod that replaces another goes on with the parts that are not done.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from components.cli import guarded


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(
        prog="python -m components.predict_batch.worker", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--predictions", required=True, help="s3:// URI of the predictions")
    parser.add_argument("--workers", type=int, required=True, help="how many indexes there are")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Predict and return the exit code."""
    arguments = build_parser().parse_args(argv)
    index = int(os.environ["JOB_COMPLETION_INDEX"])
    return guarded(lambda: _work(arguments.predictions, index, arguments.workers))


def _work(predictions: str, index: int, workers: int) -> None:
    from components.predict_batch.plan import read_plan
    from components.predict_batch.prediction import open_for_batch, predict_parts
    from segmentor.errors import ContractError
    from segmentor.object_store import ObjectStore
    from segmentor.object_uri import ObjectUri

    store, output = ObjectStore.from_environment(), ObjectUri.parse(predictions)
    plan = read_plan(store, output)
    if plan is None:
        raise ContractError(predictions, "no plan", "one that predict_batch has written")
    model = open_for_batch(plan.order.model, plan.order.model_digest)
    predict_parts(store, output, plan, model, plan.parts_of(index, workers))


if __name__ == "__main__":
    sys.exit(main())
