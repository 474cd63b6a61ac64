"""The sweep: the segmentation pipeline with a loop around training; the best checkpoint goes on."""

from kfp import dsl

from components.choose.component import choose
from components.choose.options import ChooseOptions
from pipelines.declaration import Channels, inputs_of, pipeline
from pipelines.segmentation import (
    AFTER_TRAINING,
    BEFORE_TRAINING,
    prepare,
    train_on,
    verify_and_deploy,
)
from pipelines.sweep_options import SweepOptions
from pipelines.task_settings import set_basics

OPTIONS = (*BEFORE_TRAINING, SweepOptions, ChooseOptions, *AFTER_TRAINING)


@pipeline("segmentation-sweep", "Segmentation sweep", *OPTIONS)
def sweep(values: Channels) -> None:
    """Trains with several sets of overrides and deploys the best of them."""
    checked, splits = prepare(values)
    # The loop is unnamed: some backends look a group up by its key, and a name hides that
    # (kubeflow/pipelines#13239).
    with dsl.ParallelFor(values["override_sets"]) as overrides:
        trained = train_on(checked, splits, values, overrides)
    chosen = choose(
        checkpoints=dsl.Collected(trained.outputs["checkpoint"]), **inputs_of(values, ChooseOptions)
    )
    set_basics(chosen, values["data_image"], hours=6)
    verify_and_deploy(splits, chosen.outputs["checkpoint"], values)
