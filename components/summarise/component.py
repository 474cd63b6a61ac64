"""KFP's specification of summarise, the exit handler."""

from kfp import dsl

from components.container_images import DATA


@dsl.container_component
def summarise(
    summary: dsl.Output[dsl.HTML],
    status: dsl.PipelineTaskFinalStatus,
    run_name: str,
    run_id: str,
    source: str,
    classes: str,
    train_overrides: str,
    override_sets: list,
    model_name: str,
    destination: str,
    min_iou: float,
):
    """Says how the run ended, whatever happened in it.

    Args:
        summary: State, error, and what the run was asked for.
        status: How the run ended; KFP gives it.
        run_name: Name of the run.
        run_id: Identifier of the run.
        source: Parameter of the run.
        classes: Parameter of the run.
        train_overrides: Parameter of the run; empty in a sweep.
        override_sets: Parameter of a sweep; else empty.
        model_name: Parameter of the run.
        destination: Parameter of the run.
        min_iou: Parameter of the run.
    """
    return dsl.ContainerSpec(
        image=DATA,
        command=["python", "-m", "components.summarise"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--status",
            status,
            "--run-name",
            run_name,
            "--run-id",
            run_id,
            "--source",
            source,
            "--classes",
            classes,
            "--train-overrides",
            train_overrides,
            "--override-sets",
            override_sets,
            "--model-name",
            model_name,
            "--destination",
            destination,
            "--min-iou",
            min_iou,
            "--summary",
            summary.path,
        ],
    )
