"""The options of convert_labels."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.convert_labels.source.fetching import local_path
from components.options import cache_salt, check_values, destination, option
from segmentor.errors import ConfigError, DataError

if TYPE_CHECKING:
    from components.convert_labels.classes.mapping import MappingRules


@dataclass(frozen=True, kw_only=True)
class CheckedSource:
    """What an earlier step found; a pipeline passes it on, nobody sets it."""

    source_state: str = option(
        "",
        "What check_deployment found at the source: fail if it changes meanwhile; empty takes it "
        "as it is.",
    )


@dataclass(frozen=True, kw_only=True)
class ConvertLabelsOptions:
    """Which export is read, and what its labels become."""

    source: str = option(
        help="The CVAT export: a zip file or a folder, as a path or an s3:// or minio:// URI; or a "
        "project, task or job of a CVAT server (cvat://host/projects/7)."
    )
    images: str = option(
        "",
        "The images, if the export does not contain them: a zip file or a folder, path or URI.",
    )
    classes: str = option(
        "",
        "Classes and the labels they are made of ('road=surface+marking,car,ignore=sky'); '*' is "
        "every other label; empty keeps every label as a class.",
    )
    label_map: str = option(
        "",
        "A YAML file (path or URI) in place of classes, for colours and for names with special "
        "characters.",
    )
    unlabelled: str = option(
        "background",
        "What pixels without a label become: 'background' (class 0) or 'ignore' (no ground truth).",
        choices=("background", "ignore"),
    )
    empty_images: str = option(
        "negative",
        "Images without any label: 'negative' keeps them as all background, 'skip' leaves them "
        "out, 'fail' refuses them.",
        choices=("negative", "skip", "fail"),
    )
    bad_samples: str = option(
        "fail",
        "Samples with errors: 'fail' stops and lists them all, 'skip' leaves them out and reports "
        "them.",
        choices=("fail", "skip"),
    )
    group_pattern: str = option(
        "",
        "Regular expression searched in each image name; its first group, or the whole match, "
        "names the sample's group. Empty uses the groups of the export.",
    )
    destination: str = destination()
    cache_salt: str = cache_salt()

    def __post_init__(self) -> None:
        check_values(self)
        expected = {self.source: "a CVAT export", self.images: "the images"}
        for location, what in expected.items():
            path = local_path(location)
            if path is not None and not path.expanduser().exists():
                raise DataError(location, "no such file or folder", f"{what}: a zip or a folder")
        if self.classes.strip() and self.label_map:
            raise ConfigError("--classes", "a value, and --label-map too", "one of the two")
        if local_path(self.label_map) or self.classes:
            self.rules()
        try:
            re.compile(self.group_pattern)
        except re.error as error:
            found = f"'{self.group_pattern}' ({error})"
            raise ConfigError("--group-pattern", found, "a regular expression") from error

    @property
    def locations(self) -> dict[str, str]:
        """Return where the step reads, by option."""
        return {"source": self.source, "images": self.images, "label_map": self.label_map}

    @property
    def skips_bad_samples(self) -> bool:
        """Return True if samples with errors are left out instead of ending the step."""
        return self.bad_samples == "skip"

    def rules(self) -> "MappingRules":
        """Return which labels become which classes; reads the label map file.

        Raises:
            LabelMapError: classes or the file cannot be read.
        """
        if self.label_map:
            from components.convert_labels.classes.label_map_file import read_label_map_file

            return read_label_map_file(self.label_map)
        from components.convert_labels.classes.mapping import parse_classes

        return parse_classes(self.classes)
