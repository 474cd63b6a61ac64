"""Prediction in bulk: all images of a prefix or a list, by a published model. One step."""

from components.predict_batch.component import predict_batch
from components.predict_batch.options import PredictBatchOptions
from pipelines.declaration import Channels, inputs_of, pipeline
from pipelines.task_settings import set_basics, set_object_store


@pipeline("predict-batch", "Prediction in bulk", PredictBatchOptions)
def predict_batch_pipeline(values: Channels) -> None:
    """Predict all images of a prefix or a list with a published model."""
    predicted = predict_batch(**inputs_of(values, PredictBatchOptions))
    # Never from KFP's cache: what lies in the object store may have changed, and what is done there
    # is not done again.
    set_basics(
        predicted, values["data_image"], hours=7 * 24, cpu="250m", memory="2Gi"
    ).set_caching_options(False)
    set_object_store(predicted, values["object_store_secret"])
