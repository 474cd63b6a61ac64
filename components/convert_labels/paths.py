"""The paths that convert_labels writes, and what they must not replace."""

from dataclasses import dataclass
from pathlib import Path

from components.cli import refuse_shared_folders
from components.convert_labels.options import ConvertLabelsOptions
from components.convert_labels.source.fetching import local_path
from segmentor.errors import ConfigError


@dataclass(frozen=True)
class OutputPaths:
    """The outputs of the step."""

    dataset: Path
    label_report: Path
    label_metrics: Path

    def check(self, options: ConvertLabelsOptions) -> None:
        """Refuse outputs that would replace an input or each other, or become part of an input.

        Raises:
            ConfigError: an output is in a folder that is read, or contains another path.
        """
        files = {"--label-report": self.label_report, "--label-metrics": self.label_metrics}
        inputs = {"--source": options.source, "--images": options.images}
        paths = {flag: path for flag, text in inputs.items() if (path := local_path(text))}
        refuse_shared_folders({"--dataset": self.dataset}, {**files, **paths})
        for flag, output in {"--dataset": self.dataset, **files}.items():
            for other, path in paths.items():
                if path.is_dir() and path.resolve() in output.resolve().parents:
                    found, expected = f"a place inside {other}", "one outside"
                    remedy = "the next conversion would read it as part of the export"
                    raise ConfigError(f"{flag} {output}", found, expected, remedy)
