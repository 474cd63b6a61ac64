"""KFP's specification of choose: the best of a sweep's checkpoints is carried on."""

from kfp import dsl

from components.container_images import DATA


@dsl.container_component
def choose(
    checkpoints: dsl.Input[list[dsl.Model]],
    checkpoint: dsl.Output[dsl.Model],
    choice_report: dsl.Output[dsl.HTML],
    metric: str,
):
    """Chooses the best checkpoint of a sweep.

    Args:
        checkpoints: What the trainings of a sweep wrote.
        checkpoint: A copy of the best.
        choice_report: All of them, ranked.
        metric: What training measured on val; the greatest wins.
    """
    # No placeholder names the elements of a list on a cluster: --executor-input has them.
    return dsl.ContainerSpec(
        image=DATA,
        command=["python", "-m", "components.choose"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--metric",
            metric,
            "--checkpoint",
            checkpoint.path,
            "--choice-report",
            choice_report.path,
        ],
    )
