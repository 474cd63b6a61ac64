"""KFP's specification of propose: what to label next, in CVAT."""

from kfp import dsl

from components.component import step_component
from components.container_images import DATA
from components.propose.options import ProposeOptions


@step_component(DATA, ProposeOptions)
def propose(
    dataset: dsl.Input[dsl.Dataset],
    ranking: dsl.Output[dsl.Artifact],
    ranking_report: dsl.Output[dsl.HTML],
) -> None:
    """Rank unlabelled frames and suspicious labels, and send masks and issues to CVAT.

    Args:
        dataset: What is labelled so far.
        ranking: images.csv and labels.csv, both lists complete.
        ranking_report: The first of both lists, with pictures.
    """
