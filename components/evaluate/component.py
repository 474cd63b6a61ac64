"""KFP's specification of evaluate: a checkpoint is measured on the test set."""

from kfp import dsl

from components.component import step_component
from components.container_images import TRAINER
from components.evaluate.options import EvaluateOptions


@step_component(TRAINER, EvaluateOptions)
def evaluate(
    checkpoint: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    evaluation_report: dsl.Output[dsl.HTML],
) -> None:
    """Measures a checkpoint on the test set, by the same inference path that serves.

    Args:
        checkpoint: The checkpoint that train wrote.
        test: Samples that training has not seen.
        evaluation: evaluation.json and per_image.csv.
        metrics: IoU, Dice and accuracy of the whole test set.
        confusion: The confusion matrix, rows truth and columns prediction.
        evaluation_report: The table of images, curves, best and worst overlays.
    """
