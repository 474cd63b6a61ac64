"""KFP's specification of train: a network learns from train and is chosen on val."""

from kfp import dsl

from components.container_images import TRAINER


@dsl.container_component
def train(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    checkpoint: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    logs: dsl.Output[dsl.Artifact],
    training_report: dsl.Output[dsl.HTML],
    overrides: str,
    cache_salt: str,
):
    """Trains a segmentation network and keeps the best checkpoint.

    Args:
        train: Samples to learn from.
        val: Samples that choose the checkpoint and the threshold.
        checkpoint: Weights, contract, configuration, and the state to resume from.
        metrics: Losses and IoU of the best epoch.
        logs: TensorBoard events.
        training_report: Curves, configuration and examples.
        overrides: Hydra overrides, spaces between ('model.encoder=resnet34 training.epochs=40').
        cache_salt: Another value makes this step run again although its inputs are the same.
    """
    return dsl.ContainerSpec(
        image=TRAINER,
        command=["python", "-m", "components.train"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--train",
            train.path,
            "--val",
            val.path,
            "--overrides",
            overrides,
            "--checkpoint",
            checkpoint.path,
            "--metrics",
            metrics.path,
            "--logs",
            logs.path,
            "--training-report",
            training_report.path,
        ],
    )
