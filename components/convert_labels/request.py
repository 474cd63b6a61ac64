"""What convert_labels was asked to do."""

from dataclasses import dataclass
from pathlib import Path

from components.cli import refuse_shared_folders
from components.convert_labels.fetching import local_path
from segmentor.errors import ConfigError


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

    def check_outputs(self) -> None:
        """Refuses outputs that would replace the input or each other, or become part of it.

        Raises:
            ConfigError: an output lies in a folder that is read, or holds another path.
        """
        files = {"--label-report": self.label_report, "--label-metrics": self.label_metrics}
        inputs = {"--source": self.source, "--images": self.images}
        paths = {flag: path for flag, text in inputs.items() if (path := local_path(text))}
        refuse_shared_folders({"--dataset": self.dataset}, {**files, **paths})
        for flag, output in {"--dataset": self.dataset, **files}.items():
            for other, path in paths.items():
                if path.is_dir() and path.resolve() in output.resolve().parents:
                    found, expected = f"a place inside {other}", "one outside"
                    remedy = "the next conversion would read it as part of the export"
                    raise ConfigError(f"{flag} {output}", found, expected, remedy)
