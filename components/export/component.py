"""KFP's specification of export: a checkpoint becomes model.onnx, proven equal to torch."""

from kfp import dsl

from components.component import step_component
from components.container_images import TRAINER
from components.export.options import ExportOptions


@step_component(TRAINER, ExportOptions)
def export(
    checkpoint: dsl.Input[dsl.Model],
    val: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    parity: dsl.Output[dsl.Metrics],
    export_report: dsl.Output[dsl.HTML],
) -> None:
    """Write model.onnx with its contract inside, and fail if it differs from torch.

    Args:
        checkpoint: The checkpoint that train wrote.
        val: Samples for what export has to choose.
        test: Samples on which torch and ONNX are compared.
        model: A folder with model.onnx.
        parity: Largest difference of probability and share of flipped pixels.
        export_report: Both, for each image and size.
    """
