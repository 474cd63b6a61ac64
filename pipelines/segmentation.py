"""The segmentation pipeline: from a CVAT export to a published model. The graph, and no logic."""

from kfp import dsl

from components.convert_labels.component import convert_labels
from components.convert_labels.options import ConvertLabelsOptions
from components.deploy.component import check_deployment, deploy
from components.deploy.options import DeployOptions, SourceOptions
from components.evaluate.component import evaluate
from components.export.component import export
from components.export.options import ExportOptions
from components.node_options import NodeOptions
from components.split.component import split
from components.split.options import SplitOptions
from components.train.component import train
from components.train.options import TrainOptions
from pipelines.cluster_options import ClusterOptions
from pipelines.declaration import Channels, inputs_of, pipeline
from pipelines.task_settings import set_basics, set_cvat, set_object_store, set_training_resources

# Whose options are the parameters of the pipeline, in the order of KFP's form.
BEFORE_TRAINING = (ConvertLabelsOptions, SplitOptions)
AFTER_TRAINING = (ExportOptions, DeployOptions, ClusterOptions, NodeOptions)
OPTIONS = (*BEFORE_TRAINING, TrainOptions, *AFTER_TRAINING)


def prepare(values: Channels) -> tuple[dsl.PipelineTask, dsl.PipelineTask]:
    """Check what the later steps will need, then convert the export and split it."""
    checked = check_deployment(
        **inputs_of(values, DeployOptions, ExportOptions, SourceOptions, NodeOptions)
    )
    set_basics(checked, values["data_image"], hours=1).set_caching_options(False)
    set_object_store(checked, values["object_store_secret"])
    set_cvat(checked)
    # The state is an input of the task, so KFP's cache knows when the source has changed.
    converted = convert_labels(
        **inputs_of(values, ConvertLabelsOptions), source_state=checked.outputs["source_state"]
    )
    set_basics(converted, values["data_image"], hours=6, cpu="250m", memory="1Gi")
    set_object_store(converted, values["object_store_secret"])
    set_cvat(converted)
    splits = split(dataset=converted.outputs["dataset"], **inputs_of(values, SplitOptions))
    set_basics(splits, values["data_image"], hours=6)
    set_object_store(splits, values["object_store_secret"])
    return checked, splits


def train_on(
    checked: dsl.PipelineTask, splits: dsl.PipelineTask, values: Channels, overrides: str
) -> dsl.PipelineTask:
    """Train with one set of overrides."""
    trained = train(
        train=splits.outputs["train"],
        val=splits.outputs["val"],
        train_overrides=overrides,
        destination=values["destination"],
        cache_salt=values["cache_salt"],
        **inputs_of(values, NodeOptions),
    )
    set_basics(trained, values["trainer_image"], hours=7 * 24)
    set_object_store(trained, values["object_store_secret"])
    set_training_resources(trained, checked, values)
    return trained


def verify_and_deploy(splits: dsl.PipelineTask, checkpoint: dsl.Model, values: Channels) -> None:
    """Evaluate and export a checkpoint, and deploy the model that passes the gate."""
    evaluated = evaluate(checkpoint=checkpoint, test=splits.outputs["test"])
    set_basics(evaluated, values["trainer_image"], hours=6, cpu="250m", memory="2Gi")
    set_object_store(evaluated, values["object_store_secret"])
    exported = export(
        checkpoint=checkpoint,
        val=splits.outputs["val"],
        test=splits.outputs["test"],
        **inputs_of(values, ExportOptions),
    )
    set_basics(exported, values["trainer_image"], hours=6, cpu="250m", memory="2Gi")
    set_object_store(exported, values["object_store_secret"])
    deployed = deploy(
        model=exported.outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
        parity=exported.outputs["parity"],
        test=splits.outputs["test"],
        **inputs_of(values, DeployOptions),
    )
    set_basics(deployed, values["data_image"], hours=6).set_caching_options(False)
    set_object_store(deployed, values["object_store_secret"])


# Last, because KFP calls it at once.
@pipeline("segmentation", "Segmentation", *OPTIONS)
def segmentation(values: Channels) -> None:
    """From a CVAT export to a verified, published and served segmentation model."""
    checked, splits = prepare(values)
    trained = train_on(checked, splits, values, values["train_overrides"])
    verify_and_deploy(splits, trained.outputs["checkpoint"], values)
