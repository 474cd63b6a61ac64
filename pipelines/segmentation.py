"""The segmentation pipeline: from a CVAT export to a published model. The graph, and no logic."""

from kfp import dsl

from components.convert_labels.component import convert_labels
from components.deploy.component import deploy
from components.evaluate.component import evaluate
from components.export.component import export
from components.split.component import split
from components.train.component import train


@dsl.pipeline(name="segmentation", display_name="Segmentation")
def segmentation(
    source: str,
    images: str = "",
    classes: str = "",
    unlabelled: str = "background",
    empty_images: str = "negative",
    group_pattern: str = "",
    ratios: str = "0.7,0.2,0.1",
    seed: int = 0,
    honour_subsets: bool = False,
    train_overrides: str = "",
    size_policy: str = "resize",
    model_name: str = "segmentation",
    destination: str = "s3://models",
    version: str = "",
    namespace: str = "default",
    min_iou: float = 0.5,
    max_probability_difference: float = 1e-4,
    max_flipped_fraction: float = 1e-5,
    apply: bool = False,
    cache_salt: str = "",
):
    """From a CVAT export to a verified, published and served segmentation model.

    Args:
        source: The CVAT export: a zip file or a folder, at a path or an s3:// or minio:// URI.
        images: Where the images lie when the export holds none; empty when it does.
        classes: Which labels become which classes ('road=road_surface+marking'); empty keeps all.
        unlabelled: What a pixel without a label is: 'background' or 'ignore'.
        empty_images: Images without any label: 'negative' keeps, 'skip' drops, 'fail' refuses them.
        group_pattern: Regular expression whose first group names a sample's group; empty for none.
        ratios: Shares of train, val and test, separated by commas.
        seed: Seed of the division.
        honour_subsets: Keep the subsets that the export names instead of dividing anew.
        train_overrides: Hydra overrides of training ('model.encoder=resnet34 training.epochs=40').
        size_policy: 'resize' brings every image to the training size; 'native' keeps its size.
        model_name: Name of the model and of its InferenceService.
        destination: Where models are published: s3://<bucket> or s3://<bucket>/<prefix>.
        version: Version to publish under; empty takes the first 12 digits of the model's digest.
        namespace: Kubernetes namespace of the InferenceService.
        min_iou: The gate: least IoU on the test set.
        max_probability_difference: Largest difference of probability of torch and ONNX.
        max_flipped_fraction: Largest share of pixels that may differ between torch and ONNX.
        apply: Apply the InferenceService and wait for it; otherwise only write its manifest.
        cache_salt: Another value makes every step run again although its inputs are the same.
    """
    converted = convert_labels(
        source=source,
        images=images,
        classes=classes,
        unlabelled=unlabelled,
        empty_images=empty_images,
        group_pattern=group_pattern,
        cache_salt=cache_salt,
    )
    divided = split(
        dataset=converted.outputs["dataset"],
        ratios=ratios,
        seed=seed,
        honour_subsets=honour_subsets,
    )
    trained = train(
        train=divided.outputs["train"],
        val=divided.outputs["val"],
        overrides=train_overrides,
        cache_salt=cache_salt,
    )
    evaluated = evaluate(
        checkpoint=trained.outputs["checkpoint"],
        test=divided.outputs["test"],
    )
    exported = export(
        checkpoint=trained.outputs["checkpoint"],
        val=divided.outputs["val"],
        test=divided.outputs["test"],
        size_policy=size_policy,
        max_difference=max_probability_difference,
        max_flipped=max_flipped_fraction,
    )
    deployed = deploy(
        model=exported.outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
        parity=exported.outputs["parity"],
        name=model_name,
        destination=destination,
        version=version,
        namespace=namespace,
        min_iou=min_iou,
        max_probability_difference=max_probability_difference,
        max_flipped_fraction=max_flipped_fraction,
        apply=apply,
    )
    deployed.set_caching_options(False)
