"""The option --pipeline: which of the compiled pipelines a command runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class PipelineName(StrEnum):
    """A compiled pipeline, by the name of its file."""

    SEGMENTATION = "segmentation"
    SWEEP = "sweep"

    @property
    def path(self) -> Path:
        """The compiled YAML."""
        return Path(__file__).parent.parent / f"{self.value}.yaml"


Pipeline = Annotated[
    PipelineName,
    typer.Option(help="One training, or a sweep that deploys the best: each override is a set."),
]
