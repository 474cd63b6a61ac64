"""KFP's specification of evaluate: a checkpoint is measured on the test set."""

from kfp import dsl

from components.container_images import TRAINER


@dsl.container_component
def evaluate(
    checkpoint: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    evaluation_report: dsl.Output[dsl.HTML],
):
    """Measures a checkpoint on the test set, by the same inference path that serves.

    Args:
        checkpoint: The checkpoint that train wrote.
        test: Samples that training has not seen.
        evaluation: evaluation.json and per_image.csv.
        metrics: IoU, Dice and accuracy of the whole test set.
        confusion: The confusion matrix, rows truth and columns prediction.
        evaluation_report: The table of images, curves, best and worst overlays.
    """
    return dsl.ContainerSpec(
        image=TRAINER,
        command=["python", "-m", "components.evaluate"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--checkpoint",
            checkpoint.path,
            "--test",
            test.path,
            "--evaluation",
            evaluation.path,
            "--metrics",
            metrics.path,
            "--confusion",
            confusion.path,
            "--evaluation-report",
            evaluation_report.path,
        ],
    )
