"""KFP's specification of train: a network learns from train and is chosen on val."""

from kfp import dsl

from components.component import step_component
from components.container_images import TRAINER
from components.node_options import NodeOptions
from components.train.options import TrainOptions


@step_component(TRAINER, TrainOptions, NodeOptions)
def train(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    checkpoint: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    logs: dsl.Output[dsl.Artifact],
    training_report: dsl.Output[dsl.HTML],
) -> None:
    """Trains a segmentation network and keeps the best checkpoint.

    Args:
        train: Samples to learn from.
        val: Samples that choose the checkpoint and the threshold.
        checkpoint: Weights, contract, configuration, and the state to resume from.
        metrics: Losses and IoU of the best epoch.
        logs: TensorBoard events.
        training_report: Curves, configuration and examples.
    """
