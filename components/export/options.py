"""The options of export."""

from dataclasses import dataclass

from components.options import FRACTION, check_values, option


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What model.onnx is like, and how far it may differ from the checkpoint."""

    size_policy: str = option(
        "trained",
        "How the model handles images of any size: 'resize' to the training size, 'native' at "
        "their own size, or 'trained', the policy in the checkpoint.",
        choices=("trained", "resize", "native"),
    )
    export_precision: str = option(
        "float32",
        "'float32' writes model.onnx; 'both' adds model.int8.onnx for faster engines; 'int8' "
        "writes the INT8 model as model.onnx.",
        choices=("float32", "int8", "both"),
    )
    max_probability_difference: float = option(
        1e-4,
        "Gate: the largest difference of a probability between torch and ONNX that passes.",
        rule=FRACTION,
    )
    max_flipped_fraction: float = option(
        1e-5,
        "Gate: the largest fraction of pixels whose class may differ between torch and ONNX.",
        rule=FRACTION,
    )
    max_iou_loss: float = option(
        0.01,
        "Gate: the largest loss of IoU on the test set by INT8 that passes.",
        rule=FRACTION,
    )

    def __post_init__(self) -> None:
        check_values(self)
