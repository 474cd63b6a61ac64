"""KFP's specification of split: one data set becomes train, val and test."""

from kfp import dsl

from components.component import step_component
from components.container_images import DATA
from components.split.options import SplitOptions


@step_component(DATA, SplitOptions)
def split(
    dataset: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    val: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    split_report: dsl.Output[dsl.HTML],
) -> None:
    """Divide a data set by group, seeded, without tearing a group: three lists over its shards.

    Args:
        dataset: The data set that convert_labels wrote.
        train: Samples to learn from.
        val: Samples that choose the checkpoint and the threshold.
        test: Samples that only evaluate and export's parity see.
        split_report: Samples, groups and class shares of the three.
    """
