"""The options of predict_batch: which images, by which model, to where, and how many pods."""

from dataclasses import dataclass
from typing import Literal, get_args

from components.container_images import DATA
from components.kubernetes_names import IMAGE, POSITIVE_QUANTITY
from components.node_options import NodeOptions
from components.options import Rule, check_values, option, same_as

MaskFiles = Literal["png", "tar"]
MOST_WORKERS = 1000


def _is_uri(value: str) -> bool:
    from segmentor.object_uri import is_object_uri

    return is_object_uri(value)


@dataclass(frozen=True, kw_only=True)
class PredictBatchOptions:
    """Which images are predicted in bulk, by which model, to where, and by how many pods."""

    published_model: str = option(
        help="The model: the s3:// URI of a published version, as deploy has written it.",
        rule=Rule(_is_uri, "an s3:// URI"),
    )
    batch_images: str = option(
        help="The images: s3://<bucket>/<prefix>, or the s3:// URI of a .txt file with the URI of "
        "one image on each line.",
        rule=Rule(_is_uri, "an s3:// URI"),
    )
    predictions: str = option(
        help="Where masks and predictions.jsonl are written: an empty s3://<bucket>/<prefix>, or "
        "the one of an interrupted run, which then goes on.",
        rule=Rule(_is_uri, "an s3:// URI"),
    )
    mask_files: str = option(
        "png",
        "png writes a PNG for each image; tar writes the PNGs into archives of 128, for stores "
        "that are slow with small objects.",
        choices=get_args(MaskFiles),
    )
    predict_workers: int = option(
        1,
        "Pods that predict at once. 1 predicts in the step's own pod; with more, the step submits "
        "an Indexed Job, and each of its pods gets the resources below.",
        rule=Rule(lambda value: 1 <= value <= MOST_WORKERS, f"a whole number in 1..{MOST_WORKERS}"),
    )
    predict_cpu: str = option(
        "1", "CPUs of each pod in Kubernetes notation ('2', '500m').", rule=POSITIVE_QUANTITY
    )
    predict_memory: str = option("2Gi", "Memory of each pod ('4Gi').", rule=POSITIVE_QUANTITY)
    data_image: str = option(DATA, "Container image of predict_batch.", rule=IMAGE)
    object_store_secret: str = same_as(NodeOptions, "object_store_secret")

    def __post_init__(self) -> None:
        check_values(self)
