"""KFP's specification of export: a checkpoint becomes model.onnx, proven equal to torch."""

from kfp import dsl

from components.container_images import TRAINER


@dsl.container_component
def export(
    checkpoint: dsl.Input[dsl.Model],
    val: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    parity: dsl.Output[dsl.Metrics],
    export_report: dsl.Output[dsl.HTML],
    size_policy: str,
    precision: str,
    max_difference: float,
    max_flipped: float,
):
    """Writes model.onnx with its contract inside, and fails when it differs from torch.

    Args:
        checkpoint: The checkpoint that train wrote.
        val: Samples for what export has to choose.
        test: Samples on which torch and ONNX are compared.
        model: A folder with model.onnx.
        parity: Largest difference of probability and share of flipped pixels.
        export_report: Both, for each image and size.
        size_policy: 'trained' as the checkpoint says; 'resize' to the training size; or 'native'.
        precision: 'float32'; 'both' writes model.int8.onnx beside it, for fast engines;
            'int8' writes it in place of model.onnx.
        max_difference: Largest difference of probability allowed between torch and ONNX.
        max_flipped: Largest share of pixels allowed to change class between torch and ONNX.
    """
    return dsl.ContainerSpec(
        image=TRAINER,
        command=["python", "-m", "components.export"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--checkpoint",
            checkpoint.path,
            "--val",
            val.path,
            "--test",
            test.path,
            "--size-policy",
            size_policy,
            "--precision",
            precision,
            "--max-difference",
            max_difference,
            "--max-flipped",
            max_flipped,
            "--model",
            model.path,
            "--parity",
            parity.path,
            "--export-report",
            export_report.path,
        ],
    )
