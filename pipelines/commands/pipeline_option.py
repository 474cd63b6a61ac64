"""Options of every command that runs a pipeline: which one, and its parameters."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class PipelineName(StrEnum):
    """A compiled pipeline, by the name of its file."""

    SEGMENTATION = "segmentation"
    SWEEP = "sweep"
    LABELLING = "labelling"
    PREDICT_BATCH = "predict_batch"

    @property
    def path(self) -> Path:
        """The compiled YAML."""
        return Path(__file__).parent.parent / f"{self.value}.yaml"


Pipeline = Annotated[
    PipelineName,
    typer.Option(
        help="One training; a sweep that deploys the best, where each override is a set; "
        "labelling, which says in CVAT what to label next; or predict_batch."
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        help="A pipeline parameter, name=value; may be repeated. docs/parameters.md has them all.",
    ),
]
