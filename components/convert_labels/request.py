"""What convert_labels was asked to do."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """The options of the command line."""

    source: str
    dataset: Path
    label_report: Path
    label_metrics: Path
    images: str = ""
    classes: str = ""
    label_map: str = ""
    unlabelled: str = "background"
    empty_images: str = "negative"
    skip_bad_samples: bool = False
    group_pattern: str = ""
