"""The options of choose."""

from dataclasses import dataclass

from components.options import check_values, option


@dataclass(frozen=True, kw_only=True)
class ChooseOptions:
    """Which of several checkpoints is the best."""

    metric: str = option(
        "val_iou",
        "The metric on val by which the best checkpoint is chosen; the greatest value wins.",
    )

    def __post_init__(self) -> None:
        check_values(self)
