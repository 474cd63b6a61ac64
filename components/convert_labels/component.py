"""KFP's specification of convert_labels: a CVAT export becomes a data set artifact."""

from kfp import dsl

from components.container_images import DATA


@dsl.container_component
def convert_labels(
    dataset: dsl.Output[dsl.Dataset],
    label_report: dsl.Output[dsl.HTML],
    label_metrics: dsl.Output[dsl.Metrics],
    source: str,
    images: str,
    classes: str,
    label_map: str,
    unlabelled: str,
    empty_images: str,
    bad_samples: str,
    group_pattern: str,
    cache_salt: str,
):
    """Reads a CVAT export, checks it, and writes one data set artifact of images and index masks.

    Args:
        dataset: The data set: manifest.json, samples.jsonl and tar shards.
        label_report: Samples, classes, sizes, empty masks, and a sheet of overlays.
        label_metrics: Counts of samples, classes and pixels.
        source: The export: a zip file or a folder, at a path or an s3:// or minio:// URI.
        images: Where the images lie when the export holds none; empty when it does.
        classes: Which labels become which classes ('road=road_surface+marking'); empty keeps all.
        label_map: A YAML file that says more than classes can: path or URI; else empty.
        unlabelled: What a pixel without a label is: 'background' or 'ignore'.
        empty_images: Images without any label: 'negative' keeps, 'skip' drops, 'fail' refuses them.
        bad_samples: Samples that are wrong: 'fail' stops with all of them, 'skip' leaves them out.
        group_pattern: Regular expression whose first group names a sample's group; empty for none.
        cache_salt: Another value makes this step run again although its inputs are the same.
    """
    return dsl.ContainerSpec(
        image=DATA,
        command=["python", "-m", "components.convert_labels"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--source",
            source,
            "--images",
            images,
            "--classes",
            classes,
            "--label-map",
            label_map,
            "--unlabelled",
            unlabelled,
            "--empty-images",
            empty_images,
            "--bad-samples",
            bad_samples,
            "--group-pattern",
            group_pattern,
            "--dataset",
            dataset.path,
            "--label-report",
            label_report.path,
            "--label-metrics",
            label_metrics.path,
        ],
    )
