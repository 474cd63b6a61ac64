"""KFP's specification of choose: the best of a sweep's checkpoints is carried on."""

from kfp import dsl

from components.choose.options import ChooseOptions
from components.component import step_component
from components.container_images import DATA


@step_component(DATA, ChooseOptions)
def choose(
    checkpoints: dsl.Input[list[dsl.Model]],
    checkpoint: dsl.Output[dsl.Model],
    choice_report: dsl.Output[dsl.HTML],
) -> None:
    """Chooses the best checkpoint of a sweep.

    Args:
        checkpoints: What the trainings of a sweep wrote.
        checkpoint: A copy of the best.
        choice_report: All of them, ranked.
    """
