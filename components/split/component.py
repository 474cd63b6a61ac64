"""KFP's specification of split: one data set becomes train, val and test."""

from kfp import dsl

from components.container_images import DATA


@dsl.container_component
def split(
    dataset: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    val: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    split_report: dsl.Output[dsl.HTML],
    ratios: str,
    seed: int,
    honour_subsets: bool,
    near_duplicates: str,
):
    """Divides a data set by group, seeded, without tearing a group.

    Args:
        dataset: The data set that convert_labels wrote.
        train: Samples to learn from.
        val: Samples that choose the checkpoint and the threshold.
        test: Samples that only evaluate and export's parity see.
        split_report: Samples, groups and class shares of the three.
        ratios: Shares of train, val and test, separated by commas.
        seed: Seed of the division.
        honour_subsets: Keep the subsets that the export names instead of dividing anew.
        near_duplicates: Images that look the same: 'together' in one split, or only 'report' them.
    """
    return dsl.ContainerSpec(
        image=DATA,
        command=["python", "-m", "components.split"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--dataset",
            dataset.path,
            "--ratios",
            ratios,
            "--seed",
            seed,
            "--honour-subsets",
            honour_subsets,
            "--near-duplicates",
            near_duplicates,
            "--train",
            train.path,
            "--val",
            val.path,
            "--test",
            test.path,
            "--split-report",
            split_report.path,
        ],
    )
