"""KFP's specification of convert_labels: a CVAT export becomes a data set artifact."""

from kfp import dsl

from components.component import step_component
from components.container_images import DATA
from components.convert_labels.options import CheckedSource, ConvertLabelsOptions


@step_component(DATA, ConvertLabelsOptions, CheckedSource)
def convert_labels(
    dataset: dsl.Output[dsl.Dataset],
    label_report: dsl.Output[dsl.HTML],
    label_metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Read a CVAT export, check it, and write one data set artifact of images and index masks.

    Args:
        dataset: The data set: manifest.json, samples.jsonl.gz, and where the tar shards are.
        label_report: Samples, classes, sizes, empty masks, and a sheet of overlays.
        label_metrics: Counts of samples, classes and pixels.
    """
