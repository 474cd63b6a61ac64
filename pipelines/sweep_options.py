"""The parameters that the sweep has in place of train_overrides."""

import shlex
from dataclasses import dataclass

from components.options import Rule, check_values, option
from components.train.options import TrainOptions
from segmentor.errors import SegmentorError


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Which trainings are compared."""

    override_sets: list[str] = option(
        ["model=tiny", "model=fpn"],
        "Sets of Hydra overrides; each set is trained once ('model=fpn training.epochs=40').",
        rule=Rule(
            lambda value: bool(value) and all(isinstance(item, str) for item in value),
            'a list of one or more texts (["training.epochs=20", "training.epochs=40"])',
        ),
    )

    def __post_init__(self) -> None:
        check_values(self)
        for text in self.override_sets:
            try:
                TrainOptions(train_overrides=text)
            except SegmentorError as error:
                where = f"{error.where} (in {shlex.quote(text)})"
                raise type(error)(where, error.found, error.expected, error.remedy) from error
