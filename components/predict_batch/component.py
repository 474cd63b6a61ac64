"""KFP's specification of predict_batch: all images of a prefix or a list, by a published model."""

from kfp import dsl

from components.component import step_component
from components.container_images import DATA
from components.predict_batch.options import PredictBatchOptions


@step_component(DATA, PredictBatchOptions)
def predict_batch(
    prediction_summary: dsl.Output[dsl.Artifact],
    prediction_metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Predict all images of a prefix or a list in the object store, in this pod or in many.

    Args:
        prediction_summary: What was predicted by which model, where it is, and the bad images.
        prediction_metrics: Counts, and the means of uncertainty and coverage.
    """
