"""The stages that the pipelines share: each makes its tasks and gives them what a cluster needs."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components.convert_labels.component import convert_labels
from components.deploy.component import check_deployment, deploy
from components.evaluate.component import evaluate
from components.export.component import export
from components.split.component import split
from components.train.component import train
from pipelines.cluster_settings import (
    set_basics,
    set_object_store,
    set_retries,
    set_training_resources,
)


def check_early(
    wishes: Mapping[str, Any], forms: Mapping[str, Any], image: str, secret: str
) -> dsl.PipelineTask:
    """Looks at what deploy and export will be asked for; the rest may start after this task."""
    checked = check_deployment(**wishes, **forms)
    set_basics(checked, image, hours=1).set_caching_options(False)
    set_object_store(checked, secret)
    set_retries(checked)
    return checked


def prepare(
    checked: dsl.PipelineTask,
    *,
    source: str,
    images: str,
    classes: str,
    label_map: str,
    unlabelled: str,
    empty_images: str,
    bad_samples: str,
    group_pattern: str,
    ratios: str,
    seed: int,
    honour_subsets: bool,
    near_duplicates: str,
    cache_salt: str,
    image: str,
    secret: str,
) -> dsl.PipelineTask:
    """Converts an export and divides it, once the wishes are checked; returns the split task."""
    converted = convert_labels(
        source=source,
        images=images,
        classes=classes,
        label_map=label_map,
        unlabelled=unlabelled,
        empty_images=empty_images,
        bad_samples=bad_samples,
        group_pattern=group_pattern,
        cache_salt=cache_salt,
    ).after(checked)
    set_basics(converted, image, hours=6, memory="2Gi")
    set_object_store(converted, secret)
    set_retries(converted)
    divided = split(
        dataset=converted.outputs["dataset"],
        ratios=ratios,
        seed=seed,
        honour_subsets=honour_subsets,
        near_duplicates=near_duplicates,
    )
    return set_basics(divided, image, hours=6)


def train_once(
    divided: dsl.PipelineTask,
    *,
    overrides: str,
    cache_salt: str,
    image: str,
    secret: str,
    cpu: str,
    memory: str,
    accelerator_type: str,
    accelerators: str,
    node_selector: dict,
    tolerations: list,
) -> dsl.PipelineTask:
    """Trains on a division with one set of overrides; returns the train task."""
    trained = train(
        train=divided.outputs["train"],
        val=divided.outputs["val"],
        overrides=overrides,
        cache_salt=cache_salt,
    )
    set_basics(trained, image, hours=7 * 24)
    set_object_store(trained, secret)
    set_training_resources(
        trained, cpu, memory, accelerator_type, accelerators, node_selector, tolerations
    )
    return trained


def verify_and_deploy(
    divided: dsl.PipelineTask,
    checkpoint: dsl.Model,
    wishes: Mapping[str, Any],
    forms: Mapping[str, Any],
    *,
    data_image: str,
    trainer_image: str,
    secret: str,
) -> dsl.PipelineTask:
    """Evaluates, exports and deploys a checkpoint as is wished; returns the deploy task."""
    evaluated = evaluate(checkpoint=checkpoint, test=divided.outputs["test"])
    set_basics(evaluated, trainer_image, hours=6, cpu="1", memory="4Gi")
    exported = export(
        checkpoint=checkpoint,
        val=divided.outputs["val"],
        test=divided.outputs["test"],
        **forms,
        max_difference=wishes["max_probability_difference"],
        max_flipped=wishes["max_flipped_fraction"],
    )
    set_basics(exported, trainer_image, hours=6, cpu="1", memory="4Gi")
    deployed = deploy(
        model=exported.outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
        parity=exported.outputs["parity"],
        test=divided.outputs["test"],
        **wishes,
    )
    set_basics(deployed, data_image, hours=6).set_caching_options(False)
    set_object_store(deployed, secret)
    return deployed
