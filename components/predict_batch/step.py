"""Predict in bulk: plan, predict every part, and put the lines together."""

import logging
from collections.abc import Callable

from components.predict_batch.collecting import Totals, collect
from components.predict_batch.plan import PART_IMAGES, Order, Plan, make_plan
from components.predict_batch.prediction import open_for_batch, predict_parts
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.onnx_model import OnnxModel

logger = logging.getLogger(__name__)

# Predicts all parts of a plan, by whatever means.
PredictAll = Callable[[ObjectStore, ObjectUri, Plan, OnnxModel], None]


def predict_here(store: ObjectStore, output: ObjectUri, plan: Plan, model: OnnxModel) -> None:
    """Predict all parts in this process."""
    predict_parts(store, output, plan, model, range(plan.parts))


def predict_batch(
    source: str,
    model: str,
    predictions: str,
    mask_files: str = "png",
    predict_all: PredictAll = predict_here,
    part_images: int = PART_IMAGES,
) -> tuple[Plan, Totals]:
    """Predict all images of a prefix or a list; return what was planned and what came of it.

    Args:
        source: The s3:// URI of a prefix, or of a list that ends in .txt.
        model: A model's path or s3:// URI.
        predictions: The s3:// URI of a prefix for masks and lines.
        mask_files: 'png' or 'tar'.
        predict_all: What predicts the parts.
        part_images: Images of a part.

    Raises:
        ConfigError: `predictions` holds something else.
        ContractError: no model, or one that does not reproduce its golden images.
        DataError: no image, or a count that does not come out.
        StoreError: the object store is away, or refuses.
    """
    store = ObjectStore.from_environment()
    output = ObjectUri.parse(predictions)
    opened = open_for_batch(model)
    store.ensure_bucket(output.bucket)
    plan = make_plan(store, output, Order(source, model, opened.digest, mask_files, part_images))
    predict_all(store, output, plan, opened)
    totals = collect(store, output, plan)
    logger.info(
        "predicted images=%d masks=%d bad_images=%d", totals.images, totals.masks, totals.bad_images
    )
    return plan, totals
